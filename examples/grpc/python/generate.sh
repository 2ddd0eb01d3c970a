#!/bin/sh
# Makes the Python modules of the protos in a folder: examples/grpc/python/generate.sh FOLDER, from the root of the repository, after npm ci.
# It needs grpcio-tools (requirements.txt); PYTHON says which Python has them.
set -e
folder=$1
protos=$(mktemp -d)
trap 'rm -rf "$protos"' EXIT
npx buf export . --output "$protos"
mkdir -p "$folder"
cd "$protos"
find weir/chat weir/common buf google/api -name '*.proto' | xargs "${PYTHON:-python3}" -m grpc_tools.protoc -I . --python_out="$folder" --grpc_python_out="$folder"
