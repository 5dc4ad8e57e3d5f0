"""Sends events with the Python logger: client.py PORT CLIENT COUNT. It knows no acknowledgements."""

import sys
import time

from fluent import sender

port, name, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
logger = sender.FluentSender("live", host="127.0.0.1", port=port, nanosecond_precision=name.endswith("-nanoseconds"))
for n in range(count):
    if not logger.emit_with_time(name, time.time() if n % 2 else int(time.time()), {"message": f"line {n}", "n": n}):
        sys.exit(f"event {n}: {logger.last_error}")
logger.close()
