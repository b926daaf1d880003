#include "model/hf_checkpoint.h"

#include <filesystem>

#include "base/quote.h"
#include "format/safetensors/safetensors.h"
#include "model/expected_weights.h"
#include "model/hf_config.h"
#include "model/resolve.h"
#include "model/vocabulary_files.h"

namespace cria {
namespace {

constexpr std::string_view kHead = "lm_head.weight";

class HfCheckpoint : public Checkpoint {
 public:
  explicit HfCheckpoint(const std::string& folder) : folder_(folder) {}

  Status load(const OpenOptions& options) {
    CRIA_RETURN_IF_ERROR(load_config());
    CRIA_ASSIGN_OR_RETURN(shards_, open_safetensors_folder(folder_));
    if (!tie_word_embeddings_) tie_word_embeddings_ = !find(kHead);
    config_.tied_embeddings = *tie_word_embeddings_;
    CRIA_RETURN_IF_ERROR(load_weights());
    if (options.tokenizer_path.empty()) {
      CRIA_ASSIGN_OR_RETURN(vocabulary_, folder_vocabulary(folder_));
    } else {
      CRIA_ASSIGN_OR_RETURN(vocabulary_, open_vocabulary(options.tokenizer_path));
    }
    CRIA_RETURN_IF_ERROR(check_vocabulary_size(vocabulary_, config_.n_vocab, folder_));
    description_ = fmt::format("Hugging Face folder, {} layers, {}", config_.n_layers,
                               main_storage_type(weights_));
    return {};
  }

 private:
  Status load_config() {
    const std::string path = std::filesystem::path(folder_) / "config.json";
    CRIA_ASSIGN_OR_RETURN(const std::string text, read_text_if_exists(path));
    if (text.empty()) {
      return not_found("{}: no config.json, so this is no Hugging Face model folder", folder_);
    }
    CRIA_ASSIGN_OR_RETURN(HfConfig read, read_hf_config(text, path));
    config_ = std::move(read.config);
    tie_word_embeddings_ = read.tie_word_embeddings;
    return {};
  }

  std::optional<FoundTensor> find(std::string_view name) const {
    for (const SafetensorsShard& shard : shards_) {
      if (const SafetensorsTensor* tensor = shard.contents.find_tensor(name)) {
        return FoundTensor{tensor->type, tensor->shape, tensor->bytes};
      }
    }
    return std::nullopt;
  }

  Status load_weights() {
    const WeightSource source{.what = folder_,
                              .name = &ExpectedWeight::hf_name,
                              .interleaved = false,
                              .find = [this](const std::string& name) { return find(name); }};
    CRIA_ASSIGN_OR_RETURN(weights_, collect_weights(config_, source));
    std::vector<std::string_view> names;
    for (const SafetensorsShard& shard : shards_) {
      for (const SafetensorsTensor& tensor : shard.contents.tensors()) names.push_back(tensor.name);
    }
    // A head that is tied all the same, as transformers does; and tables that old exporters wrote
    // although they follow from the config.
    return refuse_unknown_tensors(config_, source, names, [](std::string_view name) {
      return name == kHead || name.ends_with(".rotary_emb.inv_freq");
    });
  }

  std::string folder_;
  std::optional<bool> tie_word_embeddings_;
  std::vector<SafetensorsShard> shards_;
};

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_hf_checkpoint(const std::string& path,
                                                       const OpenOptions& options) {
  auto checkpoint = std::make_unique<HfCheckpoint>(path);
  CRIA_RETURN_IF_ERROR(checkpoint->load(options));
  return std::unique_ptr<Checkpoint>(std::move(checkpoint));
}

}  // namespace cria
