// Small checkpoints in every format, for tests.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf/gguf_builder.h"
#include "format/safetensors/safetensors_builder.h"
#include "model/config.h"

namespace cria {

// A folder of its own for one test, removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // Writes a file (and the folders above it); returns its path.
  std::string write(const std::string& name, std::string_view bytes) const;

 private:
  std::filesystem::path path_;
};

// The shape of the small models: 2 layers, 2 heads of 4 sharing one key head, ten tokens.
LlamaConfig small_model_config();

// Row `row` of a weight of the small models, in half-split order: element c is
// 1000 * row + c (float32). Every weight has the same numbers, as far as it reaches.
std::string small_model_row(std::int64_t row, std::int64_t n_cols);

// The small model as GGUF, Q and K interleaved, tied or not; metadata may be changed before
// build().
GgufBuilder small_gguf(bool tied = true);

// The tensors of the small model in a Hugging Face folder, and its config.json.
SafetensorsBuilder small_safetensors(bool tied = true);
std::string small_config_json();

// A tokenizer.json with the three tokens a, b, ab and the begin and end tokens 3 and 4.
std::string small_tokenizer_json();

// Writes config.json, model.safetensors and tokenizer.json.
void write_small_hf_folder(const TemporaryFolder& folder);

}  // namespace cria
