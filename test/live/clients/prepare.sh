#!/usr/bin/env bash
# Builds the clients in other languages that test/live/forward-clients.test.ts and collector.test.ts run against the receivers:
#   prepare.sh FOLDER
# Everything goes into FOLDER; FOLDER/env.sh sets the variables by which the test finds them. A language whose tools are
# missing is left out, with a word about it, and its tests are skipped; one that is there but fails to build is an error.
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?usage: prepare.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
: >"$folder/env.sh"
failed=0

have() {
  for tool in "$@"; do
    command -v "$tool" >/dev/null || { echo "no $tool, so no such client" && return 1; }
  done
}

found() { # VARIABLE COMMAND
  printf "export %s='%s'\n" "$1" "$2" >>"$folder/env.sh"
  echo "$1=$2"
}

trouble() {
  echo "$1: failed to build" >&2
  failed=1
}

python_client() {
  python3 -m venv "$folder/python" &&
    "$folder/python/bin/pip" install --quiet 'fluent-logger==0.11.1' &&
    found WEIR_TEST_PYTHON_CLIENT "$folder/python/bin/python $here/python/client.py"
}

go_client() {
  # Two programs: both libraries want to be the one that knows the extension type of event times.
  mkdir -p "$folder/go" && (cd "$here/go" && go build -o "$folder/go/" ./logger-golang ./forward-go) &&
    found WEIR_TEST_GO_LOGGER "$folder/go/logger-golang" &&
    found WEIR_TEST_GO_CLIENT "$folder/go/forward-go"
}

go_collector() {
  mkdir -p "$folder/go" && (cd "$here/collector" && go build -ldflags='-s -w' -o "$folder/go/collector" .) &&
    found WEIR_TEST_COLLECTOR "$folder/go/collector"
}

java_client() {
  # Maven writes beside its pom.xml, so it gets a copy.
  rm -rf "$folder/java" && cp -r "$here/java" "$folder/java" &&
    (cd "$folder/java" && mvn -q -B -ntp package dependency:copy-dependencies -DoutputDirectory=lib) &&
    found WEIR_TEST_JAVA_CLIENT "java -cp $folder/java/target/classes:$folder/java/lib/* Client"
}

have python3 && { python_client || trouble python; }
have go && { go_client || trouble go; }
have go && { go_collector || trouble collector; }
have java mvn && { java_client || trouble java; }
exit $failed
