#include "model/gguf_checkpoint.h"

#include <cmath>
#include <cstring>

#include "base/quote.h"
#include "format/gguf/gguf_parts.h"
#include "model/expected_weights.h"
#include "model/forget_part.h"
#include "model/gguf_config.h"
#include "model/resolve.h"
#include "model/vocabulary_files.h"

namespace cria {
namespace {

constexpr std::string_view kRopeFactors = "rope_freqs.weight";

class GgufCheckpoint : public Checkpoint {
 public:
  explicit GgufCheckpoint(std::vector<GgufPart> parts) : parts_(std::move(parts)) {}

  Status load(const OpenOptions& options) {
    CRIA_RETURN_IF_ERROR(check_gguf_architecture(head()));
    CRIA_RETURN_IF_ERROR(load_config());
    CRIA_RETURN_IF_ERROR(apply_rope_factors());
    CRIA_RETURN_IF_ERROR(load_weights());
    CRIA_RETURN_IF_ERROR(load_vocabulary(options));
    description_ = fmt::format("GGUF v{}, {} layers, {}", head().version(), config_.n_layers,
                               main_storage_type(weights_));
    return {};
  }

  void forget(const StoredWeight& weight) const override {
    for (const GgufPart& part : parts_) forget_part(part.file, weight.bytes);
  }

 private:
  // The part with the model's metadata.
  const GgufFile& head() const { return parts_[0].contents; }

  const GgufTensor* find(std::string_view name) const {
    for (const GgufPart& part : parts_) {
      if (const GgufTensor* tensor = part.contents.find_tensor(name)) return tensor;
    }
    return nullptr;
  }

  Status load_config() {
    const GgufTensor* embedding = find("token_embd.weight");
    if (embedding == nullptr || embedding->dims.size() != 2) {
      return bad_input("{}: tensor \"token_embd.weight\" is missing or no matrix", head().what());
    }
    CRIA_ASSIGN_OR_RETURN(config_, read_gguf_config(head(), embedding->dims[1]));
    config_.tied_embeddings = find("output.weight") == nullptr;
    return {};
  }

  // rope_freqs.weight has a divisor for each frequency: how llama3 scaling is stored in GGUF.
  Status apply_rope_factors() {
    const GgufTensor* factors = find(kRopeFactors);
    if (factors == nullptr) return {};
    auto& frequencies = config_.rope_inverse_frequencies;
    if (factors->type != StorageType::kF32 || factors->dims.size() != 1 ||
        factors->dims[0] != static_cast<std::int64_t>(frequencies.size())) {
      return bad_input("{}: tensor {} is {} [{}], expected F32 [{}]", head().what(),
                       quote(kRopeFactors), storage_spec(factors->type).name,
                       fmt::join(factors->dims, ", "), frequencies.size());
    }
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
      float factor = 0;
      std::memcpy(&factor, factors->bytes.data() + i * sizeof(factor), sizeof(factor));
      if (!std::isfinite(factor) || factor <= 0) {
        return bad_input("{}: element {} of tensor {} is {}, expected a positive number",
                         head().what(), i, quote(kRopeFactors), factor);
      }
      frequencies[i] /= factor;
    }
    return validate_config(config_).with_context(head().what());
  }

  Status load_weights() {
    WeightSource source{
        .what = head().what(),
        .name = &ExpectedWeight::name,
        .interleaved = true,
        .find = [this](const ExpectedWeight& weight) { return found(weight.name); }};
    CRIA_ASSIGN_OR_RETURN(weights_, collect_weights(config_, source));
    std::vector<std::string_view> names;
    for (const GgufPart& part : parts_) {
      for (const GgufTensor& tensor : part.contents.tensors()) names.push_back(tensor.name);
    }
    return refuse_unknown_tensors(config_, source, names,
                                  [](std::string_view name) { return name == kRopeFactors; });
  }

  std::optional<FoundTensor> found(const std::string& name) const {
    const GgufTensor* tensor = find(name);
    if (tensor == nullptr) return std::nullopt;
    return FoundTensor{
        .type = tensor->type,
        .shape = {tensor->dims.rbegin(), tensor->dims.rend()},
        .bytes = tensor->bytes,
    };
  }

  Status load_vocabulary(const OpenOptions& options) {
    if (options.tokenizer_path.empty()) {
      CRIA_ASSIGN_OR_RETURN(vocabulary_, gguf_vocabulary(head()));
    } else {
      CRIA_ASSIGN_OR_RETURN(vocabulary_, open_vocabulary(options.tokenizer_path));
    }
    return check_vocabulary_size(vocabulary_, config_.n_vocab, head().what());
  }

  std::vector<GgufPart> parts_;
};

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_gguf_checkpoint(const std::string& path,
                                                         const OpenOptions& options) {
  CRIA_ASSIGN_OR_RETURN(std::vector<GgufPart> parts, open_gguf_parts(path));
  auto checkpoint = std::make_unique<GgufCheckpoint>(std::move(parts));
  CRIA_RETURN_IF_ERROR(checkpoint->load(options));
  return std::unique_ptr<Checkpoint>(std::move(checkpoint));
}

}  // namespace cria
