// make_random_model SHAPE OUT: a model with random weights, to measure speed without a checkpoint.
//
//   make_random_model 1b /tmp/m1b-q4.pte --quant q4       straight to a program, no checkpoint
//   make_random_model 1b /tmp/m1b-q4k.pte --store Q4_K    the same in what GGUF's Q4_K becomes
//   make_random_model 3b /tmp/m3b                         a Hugging Face folder, half floats
//   make_random_model 1b /tmp/m1b-2 --layers 2            the same with fewer layers
//   cria bench /tmp/m1b-q4.pte
//
// The same arguments give the same bytes. Without --tokenizer there is none in it, and commands
// that take text refuse it; `cria bench`, `cria profile` and `cria logits` need none.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <string>
#include <vector>

#include "compile/compile.h"
#include "cria/version.h"
#include "model_shape.h"
#include "quantize/recipe.h"
#include "random_checkpoint.h"
#include "targets/cpu/cpu_target.h"
#include "tokenizer/tokenizer.h"
#include "write_hf_folder.h"

namespace cria {
namespace {

struct Arguments {
  std::string shape;
  std::string out_path;
  std::string recipe;
  std::string store;  // empty: as the recipe wants it
  std::string tokenizer_path;
  std::string activations = "a8";
  std::int64_t max_context = 0;
  std::int64_t n_layers = 0;  // 0: the shape's
  RandomZeros zeros;
  bool sparse = true;
  int n_threads = 0;

  bool to_program() const { return out_path.ends_with(".pte"); }
};

std::vector<std::string> shape_names() {
  std::vector<std::string> names;
  for (const ModelShape& shape : model_shapes()) names.emplace_back(shape.name);
  return names;
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const RecipeSummary& recipe : recipe_summaries()) {
    if (std::string(recipe.name) != "source") names.emplace_back(recipe.name);
  }
  return names;
}

constexpr int kStorageTypes = static_cast<int>(StorageType::kMXFP4) + 1;

std::vector<std::string> storage_names() {
  std::vector<std::string> names;
  for (int i = 0; i < kStorageTypes; ++i) {
    names.emplace_back(storage_spec(static_cast<StorageType>(i)).name);
  }
  return names;
}

// How layers are stored: as asked for; else in the form that the recipe carries over as it is,
// since that is several times as fast as quantizing; else as half floats.
Result<StorageType> storage_type(const Arguments& arguments) {
  if (!arguments.to_program() || arguments.zeros.two_in_four) return StorageType::kF16;
  CRIA_ASSIGN_OR_RETURN(const Recipe recipe, Recipe::from_name(arguments.recipe));
  const Encoding wanted = recipe.encoding_for("blk.0.ffn_up.weight", Encoding::kF16);
  for (int i = 0; i < kStorageTypes; ++i) {
    const auto type = static_cast<StorageType>(i);
    const StorageSpec& spec = storage_spec(type);
    if (arguments.store.empty() ? spec.encoding == wanted : arguments.store == spec.name) {
      return type;
    }
  }
  return StorageType::kF16;
}

Status write_program(const Arguments& arguments, const RandomCheckpoint& checkpoint) {
  CompileRequest request;
  request.out_path = arguments.out_path;
  request.recipe = arguments.store.empty() ? arguments.recipe : "source";
  request.max_context = arguments.max_context;
  request.activations = arguments.activations;
  request.n_threads = arguments.n_threads;
  request.sparse = arguments.sparse;
  request.cria_version = kVersion;
  if (checkpoint.vocabulary() != nullptr) {
    CRIA_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::build(*checkpoint.vocabulary()));
    request.tokenizer = tokenizer.serialize();
  }
  const Result<CompileSummary> summary = compile_checkpoint(checkpoint, cpu_target(), request);
  if (!summary.ok()) return summary.status();
  fmt::print("{}: {:.2f} GB, {:.2f} bits a weight, in {:.1f} s\n", arguments.out_path,
             static_cast<double>(summary->file_bytes) / 1e9, summary->bits_per_weight,
             summary->seconds);
  return {};
}

Status make(const Arguments& arguments) {
  ModelShape shape = *std::ranges::find(model_shapes(), arguments.shape, &ModelShape::name);
  if (arguments.n_layers > 0) shape.n_layers = arguments.n_layers;
  CRIA_ASSIGN_OR_RETURN(const StorageType type, storage_type(arguments));
  CRIA_ASSIGN_OR_RETURN(
      const std::unique_ptr<RandomCheckpoint> checkpoint,
      RandomCheckpoint::create(shape, type, arguments.tokenizer_path, arguments.zeros));
  if (arguments.to_program()) return write_program(arguments, *checkpoint);
  return write_hf_folder(shape, *checkpoint, arguments.out_path);
}

void check_usage(Arguments& arguments) {
  if (!arguments.recipe.empty() && !arguments.store.empty()) {
    throw CLI::ValidationError("--store", "not together with --quant");
  }
  const bool compiles = !arguments.recipe.empty() || !arguments.store.empty() ||
                        !arguments.tokenizer_path.empty() || arguments.max_context != 0;
  if (!arguments.to_program() && compiles) {
    throw CLI::ValidationError("OUT", "a folder of half floats takes no such flag; name a .pte");
  }
  if (arguments.zeros.two_in_four && !arguments.store.empty()) {
    throw CLI::ValidationError("--two-in-four", "not together with --store");
  }
  if (arguments.recipe.empty()) arguments.recipe = "q4";
}

void add_flags(CLI::App& app, Arguments& arguments) {
  app.add_option("SHAPE", arguments.shape, "1b, 3b: as Llama 3.2; small: for tests")
      ->required()
      ->check(CLI::IsMember(shape_names()));
  app.add_option("OUT", arguments.out_path, "a .pte, or a folder for a checkpoint")->required();
  app.add_option("--quant", arguments.recipe, "recipe (default q4)")
      ->check(CLI::IsMember(recipe_names()));
  app.add_option("--store", arguments.store, "layers as this storage type carries them: Q4_K, ...")
      ->check(CLI::IsMember(storage_names()));
  app.add_option("--zeros", arguments.zeros.block_share,
                 "share of the layers' blocks of 16 rows and 32 columns that are zero")
      ->check(CLI::Range(0.0, 1.0));
  app.add_flag("!--no-sparse", arguments.sparse, "store zeros like all other weights");
  app.add_flag("--two-in-four", arguments.zeros.two_in_four,
               "two of four columns are zero; rounds half floats, which takes longer");
  app.add_option("--tokenizer", arguments.tokenizer_path,
                 "tokenizer file or folder to put in (at most the shape's vocabulary)");
  app.add_option("--act", arguments.activations, "activations: a8 or a16")
      ->check(CLI::IsMember({"a8", "a16"}));
  app.add_option("--ctx", arguments.max_context, "positions (0: the shape's own)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 24));
  app.add_option("--layers", arguments.n_layers, "layers (0: the shape's own)")
      ->check(CLI::Range(0, 256));
  app.add_option("-t,--threads", arguments.n_threads, "threads (0: all cores)")
      ->check(CLI::Range(0, 256));
}

}  // namespace
}  // namespace cria

int main(int argc, char** argv) {
  CLI::App app{"writes a model with random weights, to measure with"};
  cria::Arguments arguments;
  cria::add_flags(app, arguments);
  try {
    app.parse(argc, argv);
    cria::check_usage(arguments);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "make_random_model: %s (see --help)\n", error.what());
    return 2;
  }
  const cria::Status status = cria::make(arguments);
  if (status.ok()) return 0;
  std::fprintf(stderr, "make_random_model: %s\n", status.message().c_str());
  return 1;
}
