// Compiling what is no user's whole request: the steps of other commands.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "cria/toolchain.h"

namespace cria {

// As in CompileRequest (compile/compile.h).
struct CompileChecks {
  std::function<Status(const std::string& path)> check;
  bool keep = true;
  std::int64_t verify_chunk = 0;  // 0: its default
};

// compile() of a source that is resolved (model/resolve.h), so that an id is looked up once.
Result<CompileReport> compile_path(const std::string& path, const CompileOptions& options,
                                   const std::string& out_path, const CompileChecks& checks = {});

}  // namespace cria
