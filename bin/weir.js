#!/usr/bin/env -S node --initial-old-space-size=128 --max-semi-space-size=8
// V8 by default starts with a heap so small that buffers passing through, which count as part of it, start a full
// garbage collection every few megabytes: half of the CPU time of receiving. With room for 128 MiB from the start it
// is a tenth of them. New objects get 8 MiB in each thread, half of V8's default: 25 MB less at the same CPU time. 96 and 4 MiB
// take another 15 MB less, and a tenth more CPU time, of receiving and of queries.
// The command itself is compiled; a file in the repository can be executable on every checkout.
import "../dist/src/main.js";
