#!/usr/bin/env bash
# Builds the servers that tests run against and that no package of this project brings:
#   prepare.sh FOLDER
# Everything goes into FOLDER; FOLDER/env.sh sets the variables by which tests find them. Without the tools for one it is left out, with a
# word about it, and its tests are skipped; one that fails to build is an error. A server that stands in FOLDER already is kept.
set -u -o pipefail
folder=${1:?usage: prepare.sh FOLDER}
mkdir -p "$folder/bin"
folder=$(cd "$folder" && pwd)
: >"$folder/env.sh"

# An S3 server that creates objects only if absent, as AWS does.
VERSITYGW=v1.8.0

# DuckDB, which the page on reading without Weir uses.
DUCKDB=2.0.0

if python3 -m venv "$folder/python" && "$folder/python/bin/pip" install --quiet "duckdb==$DUCKDB"; then
  printf "export WEIR_DUCKDB_PYTHON='%s'\n" "$folder/python/bin/python3" >>"$folder/env.sh"
else
  echo "no Python with venv and pip, so no DuckDB"
fi

if ! command -v go >/dev/null; then
  echo "no go, so no S3 server"
  exit 0
fi
if [ ! -x "$folder/bin/versitygw" ]; then
  GOBIN="$folder/bin" go install "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW" || exit 1
fi
printf "export WEIR_VERSITYGW='%s'\n" "$folder/bin/versitygw" >>"$folder/env.sh"
echo "WEIR_VERSITYGW=$folder/bin/versitygw"
