#!/usr/bin/env bash
# Builds cria and runs its main job on the model that ships with it: import a Hugging Face checkpoint, quantize it
# to 4 bits, compile it into one .pte file, map that file and stream text from it.
set -euo pipefail
cd "$(dirname "$0")"
source ./setup.sh

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }

cria_install "${CRIA_PACKAGES[@]}"
if [ ! -x build/release/bin/cria ]; then say "Building cria (a few minutes, once)"; fi
if [ ! -f build/release/build.ninja ]; then cmake --preset release -DCRIA_TESTS=OFF -DCRIA_BENCHES=OFF >/dev/null; fi
cria_build release --target cria executorch_npu llama_edge

cria=build/release/bin/cria
pte=build/quickstart/cria-tiny-q4.pte
mkdir -p build/quickstart

say "1. models/cria-tiny (a small Llama 3.2 in bf16, as Hugging Face stores it) -> 4 bits -> $pte"
$cria compile models/cria-tiny -o $pte --quant q4

say "2. A story: the file is mapped, nothing is converted at load"
$cria run $pte -p "Once upon a time" -n 120 --temp 0 --display-prompt --verbose
echo

say "3. A doctor's dictation -> a structured note (chat template, greedy)"
$cria run $pte --chat -f models/examples/consultation.txt -n 160 --temp 0 --verbose
echo

say "Next: $cria chat $pte      $cria --help      README.md"
