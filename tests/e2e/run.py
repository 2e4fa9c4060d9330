#!/usr/bin/env python3
"""End-to-end tests with real programs: Telegraf, QuestDB's client, DuckDB, Prometheus and promtool, curl-like HTTP, kill -9.

  python3 tests/e2e/run.py --binary target/debug/headwater [NAME ...]

Each test starts servers of its own on loopback ports it picks, in a temporary folder, and ends them by their process id. What a test needs
is installed by scripts/peers into --cache (default: target/peers); a peer that cannot be had fails its test, loudly. Only the virtual machine
of `powercut` may be missing: then the last lines of the run say that it was left out.

A long run of sudden ends: --kills 1000 kill, --cuts 100 powercut. A long run of rubbish: --abuse 1024 abuse.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import harness  # noqa: E402
import test_abuse  # noqa: E402
import test_duckdb  # noqa: E402
import test_kill  # noqa: E402
import test_powercut  # noqa: E402
import test_prometheus  # noqa: E402
import test_questdb_client  # noqa: E402
import test_samples  # noqa: E402
import test_statements  # noqa: E402
import test_telegraf  # noqa: E402
import test_trouble  # noqa: E402

TESTS = [
    ("samples", test_samples.samples_come_out_value_by_value),
    ("statements", test_statements.statements_change_what_queries_see),
    ("kill", test_kill.acknowledged_rows_survive_kills),
    ("full-disk", test_trouble.a_full_disk_makes_the_load_wait_and_nothing_else),
    ("descriptors", test_trouble.a_process_out_of_descriptors_waits_and_goes_on),
    ("few-descriptors", test_trouble.few_descriptors_from_the_start_leave_some_for_files),
    ("idle", test_trouble.ten_thousand_idle_connections_cost_no_file_and_little_memory),
    ("lost-folder", test_trouble.a_folder_that_goes_away_stops_the_server),
    ("read-only", test_trouble.a_disk_that_is_read_only_for_a_while_is_waited_for),
    ("read-only-fs", test_trouble.a_file_system_that_turns_read_only_loses_nothing),
    ("slow-sync", test_trouble.a_device_that_takes_a_second_for_a_sync_slows_clients_down_and_nothing_else),
    ("storm", test_trouble.connections_that_come_and_go_by_the_thousand_leave_nothing_behind),
    ("lost-files", test_trouble.files_that_go_away_are_named_and_stop_one_table_at_most),
    ("lost-catalog", test_trouble.a_lost_catalog_is_put_together_from_the_parts_and_the_log),
    ("failed-sync", test_trouble.a_failed_sync_ends_the_process_before_anything_is_acknowledged),
    ("powercut", test_powercut.acknowledged_rows_survive_power_cuts),
    ("abuse", test_abuse.rubbish_leaves_the_server_up_and_its_memory_bounded),
    ("duckdb", test_duckdb.duckdb_agrees_while_ingesting_and_after_a_stop),
    ("prometheus", test_prometheus.prometheus_scrapes_and_every_panel_has_data),
    ("questdb_client", test_questdb_client.questdb_clients_rows_come_out_value_by_value),
    ("telegraf", test_telegraf.telegraf_streams_through_a_restart_and_a_bad_line),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--cache", default="target/peers", type=pathlib.Path)
    parser.add_argument("--kills", default=30, type=int, help="SIGKILLs of the test `kill`")
    parser.add_argument("--cuts", default=5, type=int, help="power cuts of the test `powercut`")
    parser.add_argument("--abuse", default=64, type=int, help="MiB of each kind of rubbish of the test `abuse`")
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(n for n, _ in TESTS)}")
    args = parser.parse_args()
    unknown = set(args.names) - {n for n, _ in TESTS}
    if unknown:
        parser.error(f"no test named {', '.join(sorted(unknown))}")
    if not args.binary.is_file():
        parser.error(f"{args.binary} is not there; build it first: cargo build")
    passed = failed = 0
    skipped = []
    for name, test in TESTS:
        if args.names and name not in args.names:
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"headwater-{name}-") as tmp:
            env = harness.Env(args.binary.resolve(), pathlib.Path(tmp), args.cache.resolve(), args.kills, args.cuts, args.abuse)
            try:
                test(env)
                passed += 1
                print(f"ok    {name} ({time.monotonic() - start:.1f} s)", flush=True)
            except harness.Skip as why:
                skipped.append((name, why))
                print(f"SKIP  {name}: {why}", flush=True)
            except (AssertionError, OSError, subprocess.SubprocessError, harness.Failure):
                failed += 1
                print(f"FAIL  {name} ({time.monotonic() - start:.1f} s)", flush=True)
                traceback.print_exc()
                env.show_logs()
            finally:
                env.stop_all()
    print(f"{passed} passed, {failed} failed, {len(skipped)} left out")
    for name, why in skipped:
        print(f"!!! NOT TESTED: {name}: {why}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
