#include "model/hf_checkpoint.h"

#include <filesystem>
#include <set>

#include "base/quote.h"
#include "format/safetensors/safetensors.h"
#include "model/expected_weights.h"
#include "model/forget_part.h"
#include "model/hf_config.h"
#include "model/hf_packed_weight.h"
#include "model/resolve.h"
#include "model/vocabulary_files.h"

namespace cria {
namespace {

constexpr std::string_view kHead = "lm_head.weight";
constexpr const char* kHeadModule = "lm_head";

using MaybeFound = std::optional<FoundTensor>;

class HfCheckpoint : public Checkpoint {
 public:
  explicit HfCheckpoint(const std::string& folder) : folder_(folder) {}

  Status load(const OpenOptions& options) {
    CRIA_RETURN_IF_ERROR(load_config());
    CRIA_ASSIGN_OR_RETURN(shards_, open_safetensors_folder(folder_));
    config_.tied_embeddings = is_tied();
    CRIA_RETURN_IF_ERROR(load_weights());
    if (options.tokenizer_path.empty()) {
      CRIA_ASSIGN_OR_RETURN(vocabulary_, folder_vocabulary(folder_));
    } else {
      CRIA_ASSIGN_OR_RETURN(vocabulary_, open_vocabulary(options.tokenizer_path));
    }
    CRIA_RETURN_IF_ERROR(check_vocabulary_size(vocabulary_, config_.n_vocab, folder_));
    description_ =
        fmt::format("Hugging Face folder, {} layers, {}", config_.n_layers,
                    quantization_ ? quantization_->description() : main_storage_type(weights_));
    return {};
  }

  void forget(const StoredWeight& weight) const override {
    for (const SafetensorsShard& part : shards_) forget_part(part.file, weight.bytes);
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
    quantization_ = read.quantization;
    return {};
  }

  const SafetensorsTensor* find(std::string_view name) const {
    for (const SafetensorsShard& shard : shards_) {
      if (const SafetensorsTensor* tensor = shard.contents.find_tensor(name)) return tensor;
    }
    return nullptr;
  }

  FindSafetensor finder() const {
    return [this](std::string_view name) { return find(name); };
  }

  // Quantizers write a head of its own although the model ties it: then it is not the embedding
  // any more.
  bool is_tied() const {
    if (quantization_ && !find_hf_codes(kHeadModule, finder()).empty()) return false;
    return tie_word_embeddings_.value_or(find(kHead) == nullptr);
  }

  Result<MaybeFound> find_weight(const ExpectedWeight& weight) {
    if (const SafetensorsTensor* tensor = find(weight.hf_name)) {
      const std::optional<StorageType> type = float_storage_type(tensor->dtype);
      if (!type) {
        return bad_input("{}: tensor {} has dtype {}, expected F32, F16 or BF16", folder_,
                         quote(tensor->name), safetensors_dtype_name(tensor->dtype));
      }
      return MaybeFound({.type = *type, .shape = tensor->shape, .bytes = tensor->bytes});
    }
    return find_packed(weight);
  }

  Result<MaybeFound> find_packed(const ExpectedWeight& weight) {
    if (weight.shape.size() != 2) return MaybeFound();
    const std::string module = weight.hf_name.substr(0, weight.hf_name.rfind('.'));
    if (!quantization_) {
      const std::string codes = find_hf_codes(module, finder());
      if (codes.empty()) return MaybeFound();
      return bad_input("{}: tensor {} is quantized, but config.json has no quantization_config",
                       folder_, quote(codes));
    }
    auto packed =
        open_hf_packed_weight(*quantization_, module, weight.shape[0], weight.shape[1], finder());
    if (!packed.ok()) return std::move(packed).status().with_context(folder_);
    if (!*packed) return MaybeFound();
    packed_names_.insert((*packed)->tensor_names.begin(), (*packed)->tensor_names.end());
    return MaybeFound({.shape = weight.shape, .source = std::move((*packed)->rows)});
  }

  Status load_weights() {
    const WeightSource source{.what = folder_,
                              .name = &ExpectedWeight::hf_name,
                              .interleaved = false,
                              .find = [this](const ExpectedWeight& w) { return find_weight(w); }};
    CRIA_ASSIGN_OR_RETURN(weights_, collect_weights(config_, source));
    std::vector<std::string_view> names;
    for (const SafetensorsShard& shard : shards_) {
      for (const SafetensorsTensor& tensor : shard.contents.tensors()) names.push_back(tensor.name);
    }
    // Those that weights were made of; a head that is tied all the same, as transformers does; and
    // tables that old exporters wrote although they follow from the config.
    return refuse_unknown_tensors(config_, source, names, [this](std::string_view name) {
      return packed_names_.contains(name) || name == kHead ||
             name.ends_with(".rotary_emb.inv_freq");
    });
  }

  std::string folder_;
  std::optional<bool> tie_word_embeddings_;
  std::optional<HfQuantization> quantization_;
  std::vector<SafetensorsShard> shards_;
  std::set<std::string, std::less<>> packed_names_;  // tensors that packed weights are made of
};

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_hf_checkpoint(const std::string& path,
                                                       const OpenOptions& options) {
  auto checkpoint = std::make_unique<HfCheckpoint>(path);
  CRIA_RETURN_IF_ERROR(checkpoint->load(options));
  return std::unique_ptr<Checkpoint>(std::move(checkpoint));
}

}  // namespace cria
