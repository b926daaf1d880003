#include "api/model_cache.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "cria/version.h"
#include "format/npu_commands/npu_commands.h"
#include "format/plan/plan.h"
#include "quantize/recipe_file.h"
#include "tokenizer/tokenizer_blob.h"

namespace cria {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string default_cache_dir() {
  if (std::string dir = environment("CRIA_CACHE"); !dir.empty()) return dir;
  if (const std::string dir = environment("XDG_CACHE_HOME"); !dir.empty()) return dir + "/cria";
  return environment("HOME") + "/.cache/cria";
}

// FNV-1a. Two models under one name would have to collide in 64 bits and share name and recipe.
std::uint64_t hash(const std::string& text) {
  std::uint64_t value = 0xcbf29ce484222325;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return value;
}

// A file's path, size and time of change. Symbolic links (the Hugging Face cache) are followed.
Result<std::string> file_fingerprint(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return io_error("{}: {}", path.string(), error.message());
  const auto time = fs::last_write_time(path, error);
  if (error) return io_error("{}: {}", path.string(), error.message());
  return fmt::format("{}:{}:{};", fs::weakly_canonical(path, error).string(), size,
                     time.time_since_epoch().count());
}

// Whether files beside `path` belong to it: the other parts of a split file, the tokenizer of a
// llama2.c model.
bool has_companions(const std::string& path) {
  return path.find("-of-") != std::string::npos || path.ends_with(".bin");
}

// The files that a source is made of: itself, or the files of its folder.
Result<std::vector<fs::path>> source_files(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    if (!has_companions(path)) return std::vector<fs::path>{path};
    const fs::path parent = fs::path(path).parent_path();
    return source_files(parent.empty() ? "." : parent.string());
  }
  std::vector<fs::path> files;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->is_regular_file(error)) files.push_back(entry->path());
  }
  if (error) return io_error("{}: cannot list the folder: {}", path, error.message());
  std::sort(files.begin(), files.end());
  return files;
}

// The recipe, where it is a file.
std::string recipe_path(const CompileOptions& options) {
  return options.recipe_text.empty() && is_recipe_file(options.recipe) ? options.recipe : "";
}

}  // namespace

Result<std::string> open_cache_dir(const std::string& wanted) {
  const std::string dir = wanted.empty() ? default_cache_dir() : wanted;
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return io_error("cache folder {}: cannot create it: {}", dir, error.message());
  if (access(dir.c_str(), W_OK | X_OK) != 0)
    return io_error("cache folder {}: cannot write to it", dir);
  return dir;
}

Result<std::string> source_fingerprint(const std::string& path, const CompileOptions& options) {
  std::string text = fmt::format(
      "cria {};plan {};npu {};tokenizer {};recipe {} {};context {};cache {} {};device {} {};",
      kVersion, kPlanVersion, kNpuVersion, kBlobVersion, kRecipeVersion, options.recipe,
      options.max_context, options.cache_type_k, options.cache_type_v, options.device,
      options.prefill_chunk);
  if (!options.recipe_text.empty())
    text += fmt::format("recipe text {}:{};", options.recipe_text.size(), options.recipe_text);
  for (const auto& [op, device] : options.pins) text += fmt::format("place {}={};", op, device);
  CRIA_ASSIGN_OR_RETURN(const std::vector<fs::path> files, source_files(path));
  for (const fs::path& file : files) {
    CRIA_ASSIGN_OR_RETURN(const std::string one, file_fingerprint(file));
    text += one;
  }
  if (!options.tokenizer_path.empty()) {
    CRIA_ASSIGN_OR_RETURN(const std::string one, file_fingerprint(options.tokenizer_path));
    text += "tokenizer " + one;
  }
  for (const std::string& input : {recipe_path(options), options.calibration_path}) {
    if (input.empty()) continue;
    CRIA_ASSIGN_OR_RETURN(const std::string one, file_fingerprint(input));
    text += "with " + one;
  }
  return text;
}

std::string cache_file_name(const std::string& path, const CompileOptions& options,
                            const std::string& fingerprint) {
  const fs::path clean = fs::path(path).lexically_normal();
  const std::string name =
      clean.has_filename() ? clean.filename().string() : clean.parent_path().filename().string();
  return fmt::format("{}-{}-{:016x}.pte", name, fs::path(options.recipe).filename().string(),
                     hash(fingerprint));
}

}  // namespace cria
