// From a checkpoint to a compiled program: the ahead-of-time half of cria.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cria/progress.h"
#include "cria/status.h"

namespace cria {

struct CompileOptions {
  // A GGUF file, a Hugging Face folder, a llama2.c `.bin`, or a model id in the local Hugging Face
  // cache.
  std::string source;
  std::string tokenizer_path;  // overrides the checkpoint's own tokenizer; empty: its own
  // Which encoding each tensor gets: see quantization_recipes(), or the path of a recipe file
  // (docs/recipes.md), which ends in ".toml", or "default": as it is stored, but q5 for floats of
  // 0.5 billion weights or more, q4 from 2 billion on.
  std::string recipe = "source";
  // The text of a recipe file, in place of the file; `recipe` is then only its name. Empty: none.
  std::string recipe_text;
  // Statistics that `cria calibrate` wrote of this model, for recipes that use them. Empty: none.
  std::string calibration_path;
  std::int64_t max_context = 0;  // positions; 0: what the checkpoint was made for
  std::string activations =
      "a8";  // default of the program: "a8" (int8 blocks of 32) or "a16" (float)
  // What the program runs on: "cpu", or "sim:" and the name of a profile of an NPU, or the path of
  // one
  // ("sim:hexagon-v79", "sim:mine.toml").
  std::string device = "cpu";
  // On an NPU: ops that run on the processor beside it, by kind or name: {"softmax", "cpu"}. All
  // others run on the NPU. "scores", "softmax", "mix": attention in three ops.
  std::vector<std::pair<std::string, std::string>> pins;
  std::int64_t prefill_chunk = 0;  // most tokens a call of `prefill` brings; 0: 256, on an NPU 64
  // Elements of the KV cache, keys and values: "f16" or "q8_0" (int8 blocks of 32, half the memory;
  // head sizes that are multiples of 32). Empty: "f16", or what a compiled program has.
  std::string cache_type_k;
  std::string cache_type_v;
  bool sparse = true;  // blocks of zeros, and two zeros in four, are not stored
  int n_threads = 0;   // 0: all cores this process may use
  Progress progress;   // may be empty
};

struct CompiledTensor {
  std::string name;
  std::string encoding;
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  std::uint64_t size_bytes = 0;
  double relative_mse = 0;  // |w - q(w)|^2 / |w|^2; 0 when nothing was lost
  // How it was made: "carried" (codes as they were), "floats", or a method of rounding. Empty for
  // vectors.
  std::string method;
  // |(w - q(w)) x|^2 / |w x|^2 over the calibration text; none where no statistics were used.
  std::optional<double> output_error;
  // With recipe "source": why no encoding holds the tensor as the checkpoint has it; else empty.
  std::string note;
};

struct CompileReport {
  std::string source_description;  // "GGUF v3, 16 layers, Q4_0"
  std::string recipe;              // what "default" is here; else that of the options
  std::uint64_t file_bytes = 0;
  std::uint64_t weight_bytes = 0;
  std::int64_t n_parameters = 0;
  double bits_per_weight = 0;  // of the matrices
  double seconds = 0;
  std::vector<CompiledTensor> tensors;
  // What a user should know that asked for this: a line each.
  std::vector<std::string> remarks;
};

// Writes the compiled program to `out_path`: nothing is left there, and nothing partial anywhere,
// unless the result is ok. The same source and options give the same bytes.
Result<CompileReport> compile(const CompileOptions& options, const std::string& out_path);

// What CompileOptions::recipe is made of, with one line each: a name, and any methods behind it
// with '+' between them ("q4_0+rotate+gptq").
struct RecipeInfo {
  std::string name;
  std::string summary;
};
std::vector<RecipeInfo> quantization_recipes();
std::vector<RecipeInfo> quantization_methods();
// Whether a recipe is one. kInvalidArgument says what is wrong with it. Recipe files are looked at
// when they are used, since whether they fit depends on the model.
Status check_recipe(const std::string& recipe);

// The path of a compiled program for any model: a `.pte` is itself; anything else is compiled once
// and kept in `cache_dir` (empty: $CRIA_CACHE, $XDG_CACHE_HOME/cria or ~/.cache/cria). A source
// file that changed, another recipe, context or cria version compiles anew.
struct PreparedModel {
  std::string pte_path;
  bool compiled_now = false;
  CompileReport report;  // filled when compiled_now
};
Result<PreparedModel> prepare_model(const CompileOptions& options,
                                    const std::string& cache_dir = "");

// What a file is made of, as JSON text: any `.pte` (also those of others), a GGUF file, a
// safetensors file or a Hugging Face folder. {"kind": "pte" | "gguf" | "safetensors", ...};
// docs/inspect.md lists the fields.
Result<std::string> inspect(const std::string& path_or_id);
// The commands that a `.pte` gives to an NPU, as JSON text, of one method or (empty) of all. They
// are proved before they are told. kNotFound: it has none.
Result<std::string> inspect_commands(const std::string& path_or_id, const std::string& method = "");

}  // namespace cria
