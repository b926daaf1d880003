#!/usr/bin/env bash
# Checks the formatting of every C++ file; with --tidy also runs clang-tidy (slow; needs a configured
# build/release for its compile commands) on the files given, or on all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t files < <(git ls-files '*.cc' '*.h')
if [ "${1:-}" = --tidy ]; then
  shift
  [ $# -gt 0 ] || mapfile -t sources < <(git ls-files 'src/*.cc' 'tools/*.cc' | grep -vE '_(test|fuzz|bench)\.cc$|neon|avx512')
  clang-tidy --quiet -p build/release "${@:-${sources[@]}}"
else
  clang-format --dry-run --Werror "${files[@]}"
  echo "lint: ${#files[@]} files are formatted"
fi
