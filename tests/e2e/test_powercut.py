"""Power cuts in the middle of a load: acknowledged rows are on the device, once, each connection's as a prefix."""
import random
import time

from guest import Guest
from survival import Client, Load


def acknowledged_rows_survive_power_cuts(env):
    guest = Guest(env)
    guest.start()
    # A FIN proves nothing here: the host's kernel sends one for the machine that is gone.
    load = Load(guest, [Client] * 8)

    def cut():
        time.sleep(random.uniform(0.05, 2.0))
        guest.kill()

    for _ in range(env.cuts):
        load.run_until(cut)
        # The power may go again while the server recovers.
        if load.cycle % 5 == 4:
            guest.launch()
            time.sleep(random.uniform(2.0, 6.0))
            guest.kill()
        guest.start()
        load.audit()
    load.close()
    guest.kill()
    print(f"      {load.cycle} power cuts, {load.rows} rows, {load.acknowledged} of them acknowledged: none lost, none doubled", flush=True)
