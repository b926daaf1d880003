// From a checkpoint to a compiled program (`.pte`), streaming weight by weight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "compile/lower.h"
#include "cria/progress.h"
#include "model/checkpoint.h"
#include "quantize/recipe.h"
#include "quantize/statistics.h"
#include "targets/target.h"
#include "tensor/encoding.h"

namespace cria {

struct CompileRequest {
  std::string out_path;
  std::string recipe = "source";     // quantize/recipe.h
  std::optional<Recipe> own_recipe;  // in place of the one named `recipe`
  // What calibration said about this checkpoint; null: nothing. Given exactly when the recipe uses
  // it. Must outlive the call.
  const Statistics* statistics = nullptr;
  std::int64_t max_context = 0;      // positions; 0: the checkpoint's own
  std::int64_t prefill_chunk = 256;  // most tokens a call of `prefill` brings
  std::int64_t verify_chunk = 32;    // most tokens a call of `verify` brings
  std::string activations = "a8";    // default of the program: "a8" or "a16"
  std::string cache_type_k = "f16";  // of the KV cache: "f16" or "q8_0"
  std::string cache_type_v = "f16";
  bool sparse = true;                // leave zeros out where that makes a weight smaller
  int n_threads = 0;                 // 0: all cores this process may use
  std::vector<std::byte> tokenizer;  // serialized; becomes the named data "tokenizer" if not empty
  std::string cria_version;          // for the metadata
  Progress progress;                 // step "quantize", in bytes written; may be empty
  LowerTrace trace;                  // graphs of `decode` after every pass; may be empty
  // May be empty. Sees the complete program, under a path that only this process can open, before
  // it has its name: an error of it is the compile's, and no file is left.
  std::function<Status(const std::string& path)> check;
  bool keep = true;  // false: no file is left after `check`
};

struct TensorReport {
  std::string name;
  Encoding encoding = Encoding::kF32;
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  std::uint64_t size_bytes = 0;  // in the file
  double relative_mse = 0;       // |w - q(w)|^2 / |w|^2; 0: nothing was lost
  double largest_error = 0;      // max |w - q(w)|
  std::string method;  // "carried", "floats", "nearest", "nearest+importance+clip", "gptq", ...
  // |(w - q(w)) x|^2 / |w x|^2 on the calibration text; none where no statistics were used.
  std::optional<double> output_error;
  std::string note;  // why recipe "source" could not keep the tensor as it is; else empty
};

struct CompileSummary {
  std::string source_description;
  std::uint64_t file_bytes = 0;
  std::uint64_t weight_bytes = 0;
  std::int64_t n_parameters = 0;
  double bits_per_weight = 0;  // of the matrices, scales and padding included
  double seconds = 0;
  std::vector<TensorReport> tensors;
};

// Writes `request.out_path`, all or nothing: on failure (also a full disk or a cancelled progress)
// no file is left, and one that was there before stays as it was. The same checkpoint and request
// give the same bytes, whatever the number of threads. Holds a few tens of MB of converted weights
// at a time. Methods: `prefill` and `decode` (logits of the last row), `verify` (logits of all
// rows), sharing all weights.
// kInvalidArgument: the request; kBadInput: weights that are not finite or do not fit their
// encoding (tensor and row are named); kUnsupported: the target's reason.
Result<CompileSummary> compile_checkpoint(const Checkpoint& checkpoint, const Target& target,
                                          const CompileRequest& request);

}  // namespace cria
