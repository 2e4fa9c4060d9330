"""A virtual machine that runs the server and loses its power: killed, QEMU takes along all that the guest had not put on its disk."""
import pathlib
import re
import shutil
import stat
import subprocess

import harness

SCRIPTS = harness.ROOT / "scripts" / "powercut"
DISK_BYTES = 4 << 30


class Guest(harness.Endpoint):
    """The server in a machine of its own. Its disk is a file on the host, and outlives it.

    Emulated without help of the host's processor (TCG), so that it runs wherever QEMU does. The guest flushes its disk where the server
    syncs; what the guest's kernel had only in memory is gone after `kill`.
    """

    def __init__(self, env):
        super().__init__()
        self.env = env
        self.lab = env.cache / "powercut"
        self.qemu = prepare(self.lab)
        self.initrd = env.tmp / "initrd"
        self.initrd.write_bytes(initrd(self.lab))
        self.program = env.tmp / "program.img"
        self.disk = env.tmp / "disk.img"
        program_disk(env.binary, env.tmp / "program", self.program)
        with open(self.disk, "wb") as f:
            f.truncate(DISK_BYTES)
        run("mkfs.ext4", "-q", "-F", self.disk)

    def start(self):
        for attempt in range(3):
            self.launch()
            try:
                return self.wait_ready(300)
            except harness.Failure:
                # A host that is busy can starve the kernel of its timer until it gives up; that is no news of the server.
                if self.booted() or attempt == 2:
                    raise
                self.kill()

    def booted(self):
        """True when the last machine came as far as starting the server."""
        log = self.process.log.read_text(errors="replace")
        return "GUEST: serving" in log[log.rfind("SeaBIOS"):]

    def launch(self):
        """Switches the machine on."""
        forward = f"hostfwd=tcp:127.0.0.1:{self.ilp}-:9009,hostfwd=tcp:127.0.0.1:{self.http}-:9000"
        self.process = self.env.start(
            [self.qemu, "-accel", "tcg", "-cpu", "max", "-m", "1536", "-smp", "1", "-nographic", "-no-reboot", "-nodefaults",
             "-serial", "stdio", "-kernel", self.lab / "vmlinuz", "-initrd", self.initrd, "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
             "-drive", f"file={self.program},format=raw,if=virtio,readonly=on",
             "-drive", f"file={self.disk},format=raw,if=virtio,cache=writeback",
             "-netdev", f"user,id=net,{forward}", "-device", "virtio-net-pci,netdev=net,romfile="], "guest.log")


def prepare(lab):
    """Fetches kernel, busybox and QEMU; returns QEMU's path."""
    done = subprocess.run([SCRIPTS / "prepare.sh", lab], capture_output=True, text=True, timeout=1500)
    if done.returncode != 0:
        raise harness.Skip(f"no virtual machine to be had: {done.stderr.strip()}")
    return pathlib.Path(done.stdout.strip().splitlines()[-1])


def program_disk(binary, folder, image):
    """A disk with the binary and the libraries that it is linked to."""
    lib = folder / "lib"
    lib.mkdir(parents=True)
    shutil.copy(binary, folder / "headwater")
    # Symbols are most of a debug binary, and nobody looks at them there.
    if shutil.which("strip"):
        run("strip", "-g", folder / "headwater")
    for line in run("ldd", binary).splitlines():
        found = re.search(r"(/\S+)", line)
        if found:
            path = pathlib.Path(found.group(1))
            shutil.copy(path, lib / ("ld.so" if path.name.startswith("ld-linux") else path.name))
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    with open(image, "wb") as f:
        f.truncate(size * 5 // 4 + (16 << 20))
    run("mkfs.ext4", "-q", "-F", "-d", folder, image)


def initrd(lab):
    """The guest's first file system: busybox, modules, and the script that is its first process."""
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "modules")]
    entries.append(("bin/busybox", stat.S_IFREG | 0o755, (lab / "busybox").read_bytes()))
    entries.append(("init", stat.S_IFREG | 0o755, (SCRIPTS / "init.sh").read_bytes()))
    for module in sorted((lab / "modules").glob("*.ko")):
        entries.append((f"modules/{module.name}", stat.S_IFREG | 0o644, module.read_bytes()))
    entries.append(("TRAILER!!!", 0, b""))
    return b"".join(cpio_entry(n, *entry) for n, entry in enumerate(entries, 1))


def cpio_entry(number, name, mode, data):
    """One entry of a cpio archive in the "newc" format: a header of 8-digit hexadecimal fields, name and data padded to four bytes."""
    name = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    pad = lambda b: b + b"\0" * (-len(b) % 4)
    return pad(head) + pad(data)


def run(*command):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True, timeout=300).stdout
