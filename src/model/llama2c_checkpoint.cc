#include "model/llama2c_checkpoint.h"

#include "base/mapped_file.h"
#include "format/llama2c/llama2c.h"
#include "model/expected_weights.h"
#include "model/forget_part.h"
#include "model/resolve.h"
#include "model/vocabulary_files.h"

namespace cria {
namespace {

class Llama2cCheckpoint : public Checkpoint {
 public:
  Llama2cCheckpoint(MappedFile file, Llama2cFile contents)
      : file_(std::move(file)), contents_(std::move(contents)) {}

  Status load(const OpenOptions& options) {
    set_config();
    CRIA_RETURN_IF_ERROR(validate_config(config_).with_context(file_.path()));
    CRIA_RETURN_IF_ERROR(load_weights());
    if (options.tokenizer_path.empty()) {
      CRIA_ASSIGN_OR_RETURN(vocabulary_, llama2c_vocabulary_beside(file_.path(), config_.n_vocab));
    } else {
      CRIA_ASSIGN_OR_RETURN(vocabulary_, open_vocabulary(options.tokenizer_path));
    }
    CRIA_RETURN_IF_ERROR(check_vocabulary_size(vocabulary_, config_.n_vocab, file_.path()));
    description_ = fmt::format("llama2.c v{}, {} layers, {}", contents_.version, config_.n_layers,
                               main_storage_type(weights_));
    return {};
  }

  void forget(const StoredWeight& weight) const override { forget_part(file_, weight.bytes); }

 private:
  // run.c fixes what its header does not say: theta 10000, epsilon 1e-5.
  void set_config() {
    config_.n_layers = contents_.n_layers;
    config_.hidden = contents_.dim;
    config_.ffn = contents_.hidden_dim;
    config_.n_heads = contents_.n_heads;
    config_.n_kv_heads = contents_.n_kv_heads;
    config_.head_dim = contents_.dim / contents_.n_heads;
    config_.n_vocab = contents_.vocab_size;
    config_.max_context = contents_.seq_len;
    config_.norm_epsilon = 1e-5F;
    config_.tied_embeddings = contents_.shared_classifier;
    config_.rope_inverse_frequencies = rope_inverse_frequencies(config_.head_dim, {});
  }

  Status load_weights() {
    const WeightSource source{
        .what = file_.path(),
        .name = &ExpectedWeight::llama2c_name,
        .interleaved = true,
        .find = [this](const ExpectedWeight& w) { return find(w.llama2c_name); }};
    CRIA_ASSIGN_OR_RETURN(weights_, collect_weights(config_, source));
    return {};
  }

  std::optional<FoundTensor> find(const std::string& name) const {
    const Llama2cTensor* tensor = contents_.find_tensor(name);
    if (tensor == nullptr) return std::nullopt;
    FoundTensor found{.shape = {tensor->n_rows, tensor->n_cols}, .bytes = tensor->bytes};
    if (name.starts_with("rms_")) found.shape.erase(found.shape.begin());
    return found;
  }

  MappedFile file_;
  Llama2cFile contents_;
};

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_llama2c_checkpoint(const std::string& path,
                                                            const OpenOptions& options) {
  CRIA_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  CRIA_ASSIGN_OR_RETURN(Llama2cFile contents, parse_llama2c(file.bytes(), path));
  auto checkpoint = std::make_unique<Llama2cCheckpoint>(std::move(file), std::move(contents));
  CRIA_RETURN_IF_ERROR(checkpoint->load(options));
  return std::unique_ptr<Checkpoint>(std::move(checkpoint));
}

}  // namespace cria
