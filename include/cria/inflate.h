// A small model in the shape of a large one, for measuring with a model that speaks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cria/progress.h"
#include "cria/status.h"

namespace cria {

struct InflateOptions {
  std::string source;  // a Hugging Face folder, or a model id in the local Hugging Face cache
  std::string shape;   // the name of one of inflate_shapes()
  Progress progress;   // step "inflate", in bytes; may be empty
};

struct InflateReport {
  std::int64_t n_parameters = 0;
  std::uint64_t file_bytes = 0;
};

// Writes a model of the shape as a Hugging Face folder that computes the same function: it costs
// what any model of its shape costs, and the logits of all ids of `source` are the same up to the
// rounding of floats. Ids that are new get logits that never win. `out_folder` is created, or is
// empty; nothing is left there after an error.
Result<InflateReport> inflate(const InflateOptions& options, const std::string& out_folder);

// "1b" and "3b" are Llama 3.2's shapes; "small" is for tests.
std::vector<std::string> inflate_shapes();

}  // namespace cria
