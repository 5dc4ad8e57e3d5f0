#!/usr/bin/env -S node --initial-old-space-size=128
// V8 by default starts with a heap so small that buffers passing through, which count as part of it, start a full
// garbage collection every few megabytes: half of the CPU time of receiving. With room for 128 MiB from the start it
// is a tenth of them. The command itself is compiled; a file in the repository can be executable on every checkout.
import "../dist/src/main.js";
