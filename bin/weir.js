#!/usr/bin/env node
// The command itself is compiled; a file in the repository can be executable on every checkout, compiled ones are not.
import "../dist/src/main.js";
