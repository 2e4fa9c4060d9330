"""SIGKILL in the middle of a load: acknowledged rows are there, once, each connection's as a prefix, and reports still sum up."""
import random
import time

from survival import Client, FinClient, Load

# Eight connections that ask for acknowledgements, and two that half-close and wait for the FIN: the kernel of a killed process
# must answer these with a reset.
KINDS = [Client] * 8 + [FinClient] * 2


def acknowledged_rows_survive_kills(env):
    server = env.server()
    load = Load(server, KINDS)

    def kill():
        time.sleep(random.uniform(0.02, 0.6))
        server.kill()

    for _ in range(env.kills):
        load.run_until(kill)
        # Some starts are killed, too: recovery must be as good the second time.
        if load.cycle % 5 == 4:
            server.launch()
            time.sleep(random.uniform(0.0, 0.1))
            server.kill()
        server.start()
        load.audit()
    load.close()
    assert server.stop() == 0
    print(f"      {load.cycle} kills, {load.rows} rows, {load.acknowledged} of them acknowledged: none lost, none doubled", flush=True)
