// A small model in the shape of a large one: the large model computes the same function, so that
// it costs what a model of its shape costs and still speaks. model/placement.h says how.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "cria/progress.h"
#include "model/config.h"

namespace cria {

struct NamedShape {
  const char* name;  // "1b"
  LlamaConfig sizes;
};
std::span<const NamedShape> named_shapes();

struct InflateRequest {
  std::string source;      // a Hugging Face folder
  LlamaConfig sizes;       // of the large model; epsilon, tying and frequencies are the small one's
  std::string out_folder;  // created; if it exists it must be empty
  Progress progress;       // step "inflate", in bytes; may be empty
};

struct InflateSummary {
  std::int64_t n_parameters = 0;
  std::uint64_t file_bytes = 0;  // of model.safetensors
};

// Writes a Hugging Face folder: matrices in the type they have in `source` and with its numbers,
// norms as float32, `config.json` with the new sizes and epsilon, the tokenizer's files unchanged.
// All or nothing: nothing is left after an error. Streams; holds a few MB.
// The logits of the small model's ids are the same up to the rounding of floats; the ids that are
// new have logits far below them. kInvalidArgument: a size cannot hold the model, or the folder is
// not empty; kUnsupported: `source` is no Hugging Face folder.
Result<InflateSummary> inflate_checkpoint(const InflateRequest& request);

}  // namespace cria
