// Where compiled models are kept, and under which name.
#pragma once

#include <string>

#include "base/result.h"
#include "cria/toolchain.h"

namespace cria {

// `wanted`, or $CRIA_CACHE, $XDG_CACHE_HOME/cria, ~/.cache/cria; created if missing. kIo names the
// folder when that fails or it cannot be written.
Result<std::string> open_cache_dir(const std::string& wanted);

// What a compiled program depends on, as one line of text: the source's files with sizes and times
// of change, the recipe, the context, the tokenizer, and the versions of cria and of what it
// writes: the plan, the tokenizer's block, the recipes. `path` is the resolved source.
Result<std::string> source_fingerprint(const std::string& path, const CompileOptions& options);

// "<name>-<recipe>-<16 hex digits of the fingerprint's hash>.pte"
std::string cache_file_name(const std::string& path, const CompileOptions& options,
                            const std::string& fingerprint);

}  // namespace cria
