// The flags that every command with a MODEL shares, and opening what they name.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cria/engine.h"
#include "cria/status.h"
#include "cria/toolchain.h"

namespace cria::cli {

struct ModelArguments {
  std::string model;  // path, or id in the local Hugging Face cache
  std::string quant = "source";
  std::string tokenizer;
  std::string activations;  // empty: what the program says
  std::string device;       // empty: what the program says; of a checkpoint: cpu
  std::string cache_dir;
  std::string cache_type_k, cache_type_v;  // empty: f16, or what the program has
  int n_threads = 0;
  std::int64_t n_batch = 0, n_ubatch = 0;  // 0: as the program wants it
  std::string power_profile = "high_performance";
  bool verbose = false;
  OnOp on_op;  // no flag: for the command that listens
};

// Declares MODEL, --quant, --tokenizer, --act, -ctk, -ctv, -t, -b, -ub, --cache-dir,
// --verbose.
void add_model_arguments(CLI::App& command, ModelArguments& arguments);

// --device.
void add_device(CLI::App& command, ModelArguments& arguments);

// Compiles the model if it is not compiled yet (with progress) and maps it. Says on stderr what was
// done when `verbose`.
Result<Engine> open_engine(const ModelArguments& arguments);

// Says on stderr how many matrices were rounded to 2 bits, if there are any.
void warn_of_two_bits(const CompileReport& report);

// `-t`, checked: 0 stays "all cores"; more than the machine's cores is allowed (and slow), absurd
// counts are not.
CLI::Option* add_threads(CLI::App& command, int& n_threads);

// What -b and -ub take.
CLI::Validator batch_sizes();

// The names that --power-profile takes.
CLI::Validator power_profiles();

// --quant: a recipe, checked.
CLI::Option* add_quant(CLI::App& command, std::string& recipe);

// -ctk and -ctv.
void add_cache_types(CLI::App& command, std::string& k, std::string& v);

// The context to allocate: `wanted`, or if 0 the model's own up to 4096 positions.
std::int64_t choose_context(std::int64_t wanted, const ModelInfo& info);

// Writes a file; one that was there before is replaced.
Status write_text(const std::string& path, const std::string& text);

// The bytes of a file, or of standard input for "-".
Result<std::string> read_text(const std::string& path);

}  // namespace cria::cli
