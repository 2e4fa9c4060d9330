#!/usr/bin/env python3
"""Weakens every memory ordering of the checked files, one at a time, and plants some mistakes of logic: the models must find each.

  python3 models/planted.py [WORD ...]      only plants whose name has one of the words

Works on copies below target/planted. Ends with 1 when a plant goes unnoticed, or when the files as they are do not pass.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
COPY = ROOT / "target" / "planted"
CHECKED = ["src/sequencer/intake.rs", "src/sequencer/inbox.rs", "src/sequencer/progress.rs", "src/apply/progress.rs", "src/apply/gate.rs",
           "src/wal/unwritten.rs", "src/schema/version.rs"]

# Flags that end a thread, and the bench: nothing of a commit is ordered by them.
ELSEWHERE = ["src/hooks/reporter.rs", "src/engine/open.rs", "src/bench/run.rs", "src/bench/probe.rs"]
STRONG = re.compile(r"Ordering::(Acquire|Release|AcqRel|SeqCst)")

# Name, file, what stands there, what is planted, who must notice.
MISTAKES = [
    ("the consumer is not woken", "src/sequencer/inbox.rs",
     "            _ => is_first,", "            _ => false,", "exhaustive"),
    ("the wait for company does not end", "src/sequencer/inbox.rs",
     "        self.missing.store(0, Ordering::Relaxed);\n", "", "exhaustive"),
    ("a push does not see that the wait for company is over", "src/sequencer/intake.rs",
     "node, Ordering::AcqRel,", "node, Ordering::Release,", "exhaustive"),
    ("a drain does not show that the wait for company is over", "src/sequencer/intake.rs",
     "ptr::null_mut(), Ordering::AcqRel", "ptr::null_mut(), Ordering::Acquire", "exhaustive"),
    ("an order wakes nobody", "src/sequencer/inbox.rs",
     "self.order.fetch_max(order as u8, Ordering::Release);\n        self.wake();",
     "self.order.fetch_max(order as u8, Ordering::Release);", "exhaustive"),
    ("the thread is announced and not woken", "src/sequencer/inbox.rs",
     "self.consumer.get_or_init(|| consumer.clone()).unpark();", "self.consumer.get_or_init(|| consumer.clone());", "exhaustive"),
    ("the order is read after the drain", "src/sequencer/inbox.rs",
     "        let is_idle = waiting.is_empty();", "        let is_idle = waiting.is_empty();\n        let order = self.order();", "exhaustive"),
    ("the drained values are not turned round", "src/sequencer/intake.rs",
     "let mut node = unsafe { turn_round(newest) };", "let mut node = newest;", "exhaustive"),
    ("a waiter looks before it listens", "src/sequencer/progress.rs",
     "        if done() { Poll::Ready(()) } else { Poll::Pending }", "        Poll::Pending", "exhaustive"),
    ("a step wakes nobody", "src/sequencer/progress.rs",
     "        self.committed.fetch_max(ordinal, Ordering::Release);\n        self.waiter.wake();",
     "        self.committed.fetch_max(ordinal, Ordering::Release);", "exhaustive"),
    ("a table's waiter looks before it listens", "src/apply/progress.rs",
     "            let moved = self.moved.notified();",
     "            if mark.load(Ordering::Acquire) >= txn.0 {\n                return Ok(());\n            }\n            let moved = self.moved.notified();\n            moved.await;\n            continue;\n            #[allow(unreachable_code)]\n            let moved = self.moved.notified();",
     "exhaustive"),
    ("a suspension wakes nobody", "src/apply/progress.rs",
     "        drop(held);\n        self.moved.notify_waiters();", "        drop(held);", "exhaustive"),
    ("who changes the gate does not look again", "src/apply/gate.rs",
     "            fence(Ordering::SeqCst);\n        }", "            return;\n        }", "exhaustive"),
    ("the gate's count and flag are in no order", "src/apply/gate.rs",
     "        fence(Ordering::SeqCst);\n        if", "        if", "exhaustive"),
    ("the gate's flag and count are in no order", "src/apply/gate.rs",
     "            fence(Ordering::SeqCst);\n        }", "        }", "exhaustive"),
    ("an open gate wakes nobody", "src/apply/gate.rs",
     "                self.opened.notify_waiters();", "", "exhaustive"),
    ("who outlives a segment's writer does not see what it wrote", "src/wal/unwritten.rs",
     "            fence(Ordering::Acquire);\n", "", "exhaustive"),
    ("nobody hears how much of a segment is written", "src/wal/unwritten.rs",
     "        self.written.store(end, Ordering::Release);\n        commits.drain", "        commits.drain", "exhaustive"),
    ("a segment goes before its last receipt is numbered", "src/engine/fence.rs",
     "*fence <= published && !is_needed(writer, segment)", "!is_needed(writer, segment)", "random"),
    ("a segment goes before it is flushed", "src/engine/fence.rs",
     "*fence <= published && !is_needed(writer, segment)", "*fence <= published", "random"),
    ("acknowledged before apply has heard of it", "src/sequencer/commit.rs",
     "(self.on_commit)(&batch.transactions);",
     "receipts.iter().for_each(|a| a.receipt.progress.commit(a.receipt.ordinal));\n            (self.on_commit)(&batch.transactions);", "random"),
    ("a chunk goes when one of its tables is flushed a little", "src/sequencer/purge.rs",
     "flushed(*table) >= *last", "flushed(*table) >= SeqTxn(1)", "random"),
    ("a shutdown does not wait for what was pushed", "src/sequencer/thread.rs",
     "self.end(Order::Finish)", "self.end(Order::Abandon)", "random"),
]


def without_tests(text):
    return text.split("#[cfg(test)]")[0]


def unlisted():
    """Files with orderings of which nobody has said whether a model looks at them."""
    sources = [path for path in (ROOT / "src").rglob("*.rs") if "tests" not in path.relative_to(ROOT).parts]
    strong = {str(path.relative_to(ROOT)) for path in sources if STRONG.search(without_tests(path.read_text()))}
    return sorted(strong - set(CHECKED) - set(ELSEWHERE))


def orderings():
    """A plant for every ordering stronger than relaxed."""
    for file in CHECKED:
        text = (ROOT / file).read_text()
        code = without_tests(text)
        for found in STRONG.finditer(code):
            line_start = code.rfind("\n", 0, found.start()) + 1
            if code[line_start:].lstrip().startswith("//"):
                continue
            number = code.count("\n", 0, found.start()) + 1
            planted = text[:found.start()] + "Ordering::Relaxed" + text[found.end():]
            yield f"{file}:{number} {found.group(1)} becomes Relaxed", file, planted, "exhaustive"


def mistakes():
    for name, file, old, new, who in MISTAKES:
        text = (ROOT / file).read_text()
        assert text.count(old) >= 1, f"{file} has no {old!r} any more: bring this list up to date"
        yield name, file, text.replace(old, new), who


def notices(who):
    """Builds the copy and runs its models. True when they fail."""
    env = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target" / "models"), "RUSTFLAGS": "-A warnings"}
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", COPY / "models" / "Cargo.toml", "--bin", who]
    built = subprocess.run(command, env=env, capture_output=True, text=True)
    if built.returncode != 0:
        sys.exit(f"the copy does not build:\n{built.stderr}")
    binary = ROOT / "target" / "models" / "release" / who
    try:
        ran = subprocess.run([binary] + (["200"] if who == "random" else []), capture_output=True, text=True, timeout=240)
    except subprocess.TimeoutExpired:
        return True
    return ran.returncode != 0


def main():
    words = sys.argv[1:]
    if unlisted():
        sys.exit(f"neither in CHECKED nor in ELSEWHERE: {', '.join(unlisted())}")
    plants = [p for p in [*orderings(), *mistakes()] if not words or any(w in p[0] for w in words)]
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    shutil.copytree(ROOT / "src", COPY / "src")
    shutil.copytree(ROOT / "models", COPY / "models")
    for who in ("exhaustive", "random"):
        if notices(who):
            sys.exit(f"{who} fails with nothing planted")
    unnoticed = 0
    for name, file, planted, who in plants:
        start = time.monotonic()
        (COPY / file).write_text(planted)
        found = notices(who)
        shutil.copy(ROOT / file, COPY / file)
        unnoticed += not found
        print(f"{'found     ' if found else 'NOT FOUND '} {name} ({time.monotonic() - start:.0f} s)", flush=True)
    print(f"{len(plants) - unnoticed} of {len(plants)} found")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
