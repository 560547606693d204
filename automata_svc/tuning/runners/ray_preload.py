import time, os

t = time.time()
import automata_svc.trials.segment
import automata_svc.tuning.runners.ray as r

r._tr(f"preloaded in {time.time() - t}")
