#include "model/inflate.h"

#include <cassert>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/json/json.h"
#include "base/quote.h"
#include "format/safetensors/safetensors_writer.h"
#include "model/checkpoint.h"
#include "model/expected_weights.h"
#include "model/placement.h"
#include "model/vocabulary_files.h"
#include "tensor/float16.h"

namespace cria {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kConfig = "config.json";
constexpr const char* kWeights = "model.safetensors";
// What belongs to the tokenizer, taken over as it is.
constexpr const char* kTokenizerFiles[] = {"tokenizer.json",         "tokenizer_config.json",
                                           "generation_config.json", "special_tokens_map.json",
                                           "chat_template.jinja",    "tokenizer.model"};
constexpr std::int64_t kRowsAReport = 512;

LlamaConfig sizes(std::int64_t n_layers, std::int64_t hidden, std::int64_t ffn,
                  std::int64_t n_heads, std::int64_t n_kv_heads, std::int64_t head_dim) {
  LlamaConfig c;
  c.n_layers = n_layers;
  c.hidden = hidden;
  c.ffn = ffn;
  c.n_heads = n_heads;
  c.n_kv_heads = n_kv_heads;
  c.head_dim = head_dim;
  c.n_vocab = 128256;
  c.max_context = 131072;
  return c;
}

// TinyLlama: half the key heads, its own small vocabulary.
LlamaConfig sizes_of_1_1b() {
  LlamaConfig c = sizes(22, 2048, 5632, 32, 4, 64);
  c.n_vocab = 32000;
  c.max_context = 2048;
  return c;
}

LlamaConfig sizes_for_tests() {
  LlamaConfig c = sizes(6, 2048, 1024, 8, 4, 128);
  c.n_vocab = 4096;
  c.max_context = 4096;
  return c;
}

// The element `value` as a file stores it.
void store_float(StorageType type, float value, std::byte* to) {
  if (type == StorageType::kF32) {
    std::memcpy(to, &value, sizeof(value));
    return;
  }
  const std::uint16_t half = type == StorageType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
  std::memcpy(to, &half, sizeof(half));
}

bool is_vector(const ExpectedWeight& weight) { return weight.shape.size() == 1; }

// Removes what an unfinished inflation left.
class OutputFolder {
 public:
  explicit OutputFolder(const std::string& path) : path_(path) {}
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  ~OutputFolder() {
    if (keep_) return;
    std::error_code ignored;
    for (const std::string& file : files_) fs::remove(file, ignored);
    if (created_) fs::remove(path_, ignored);
  }

  Status create() {
    std::error_code error;
    created_ = fs::create_directories(path_, error);
    if (error) return io_error("{}: cannot create the folder: {}", path_, error.message());
    if (fs::is_empty(path_, error) && !error) return {};
    return invalid_argument("{}: not an empty folder", path_);
  }
  std::string file(const char* name) {
    files_.push_back(fs::path(path_) / name);
    return files_.back();
  }
  void keep() { keep_ = true; }

 private:
  std::string path_;
  std::vector<std::string> files_;
  bool created_ = false;
  bool keep_ = false;
};

Status write_text(const std::string& path, std::string_view text) {
  CRIA_ASSIGN_OR_RETURN(PartialFile file, PartialFile::create(path, text.size()));
  CRIA_RETURN_IF_ERROR(file.write_at(0, std::as_bytes(std::span(text))));
  return file.commit();
}

class Inflation {
 public:
  Inflation(const InflateRequest& request, const Checkpoint& checkpoint, const Placement& placement)
      : request_(request),
        checkpoint_(checkpoint),
        placement_(placement),
        out_(request.out_folder) {
    large_ = request.sizes;
    large_.tied_embeddings = checkpoint.config().tied_embeddings;
  }

  Result<InflateSummary> run() {
    CRIA_RETURN_IF_ERROR(out_.create());
    CRIA_RETURN_IF_ERROR(write_weights());
    for (const char* name : kTokenizerFiles) CRIA_RETURN_IF_ERROR(copy(name));
    CRIA_RETURN_IF_ERROR(write_config());
    out_.keep();
    return summary_;
  }

 private:
  Status write_weights() {
    const std::vector<ExpectedWeight> weights = expected_weights(large_);
    std::vector<SafetensorsEntry> entries;
    for (const ExpectedWeight& weight : weights) {
      CRIA_ASSIGN_OR_RETURN(const StoredWeight* source, source_of(weight));
      entries.push_back(
          {weight.hf_name, is_vector(weight) ? StorageType::kF32 : source->type, weight.shape});
      std::int64_t n_elements = 1;
      for (const std::int64_t dim : weight.shape) n_elements *= dim;
      summary_.n_parameters += n_elements;
      total_bytes_ +=
          static_cast<std::uint64_t>(n_elements) * storage_spec(entries.back().type).block_bytes;
    }
    CRIA_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                          SafetensorsWriter::create(out_.file(kWeights), entries));
    summary_.file_bytes = writer.file_bytes();
    CRIA_RETURN_IF_ERROR(report_progress(0));
    for (const ExpectedWeight& weight : weights) {
      CRIA_RETURN_IF_ERROR(is_vector(weight) ? write_norm(writer, weight)
                                             : write_matrix(writer, weight));
    }
    return writer.finish();
  }

  Result<const StoredWeight*> source_of(const ExpectedWeight& weight) const {
    return checkpoint_.weight(is_vector(weight) ? placement_.norm(weight.name).source
                                                : placement_.matrix(weight.name).source);
  }

  Status write_norm(SafetensorsWriter& writer, const ExpectedWeight& weight) {
    CRIA_ASSIGN_OR_RETURN(const StoredWeight* source, source_of(weight));
    std::vector<float> small(source->n_cols);
    source->decode_row(0, small);
    std::vector<float> row(weight.shape.back(), 0.0F);
    std::size_t at = 0;
    for (const double factor : placement_.norm(weight.name).factors) {
      for (const float w : small) row[at++] = static_cast<float>(factor * static_cast<double>(w));
    }
    if (weight.name == "output_norm.weight") {
      row[placement_.constant().column] = placement_.constant().norm_weight;
      row[placement_.constant().column + 1] = -placement_.constant().norm_weight;
    }
    CRIA_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(row))));
    return report_progress(row.size() * sizeof(float));
  }

  Status write_matrix(SafetensorsWriter& writer, const ExpectedWeight& weight) {
    CRIA_ASSIGN_OR_RETURN(const StoredWeight* source, source_of(weight));
    const MatrixPlacement placement = placement_.matrix(weight.name);
    assert(static_cast<std::int64_t>(placement.rows.size()) == weight.shape[0]);
    const bool is_table = weight.name == "token_embd.weight" || weight.name == "output.weight";
    const std::size_t row_bytes = storage_row_bytes(source->type, weight.shape[1]);
    std::uint64_t unreported = 0;
    for (const std::int64_t from : placement.rows) {
      row_.assign(row_bytes, std::byte{0});
      if (from != kZeroRow) place_row(*source, from, placement.columns);
      if (is_table) place_constant(source->type, /*is_padding=*/from == kZeroRow);
      CRIA_RETURN_IF_ERROR(writer.append(row_));
      unreported += row_bytes;
      if (unreported < kRowsAReport * row_bytes) continue;
      CRIA_RETURN_IF_ERROR(report_progress(unreported));
      unreported = 0;
    }
    return report_progress(unreported);
  }

  void place_row(const StoredWeight& source, std::int64_t from,
                 const std::vector<ColumnRun>& columns) {
    const std::size_t element = storage_spec(source.type).block_bytes;
    const std::span<const std::byte> small = source.row(from);
    for (const ColumnRun& run : columns) {
      std::memcpy(row_.data() + run.to * element, small.data() + run.from * element,
                  run.n * element);
    }
  }

  // In a row of the embedding or the head.
  void place_constant(StorageType type, bool is_padding) {
    const ConstantChannels& constant = placement_.constant();
    std::byte* at = row_.data() + constant.column * storage_spec(type).block_bytes;
    store_float(type, is_padding ? -constant.padded : constant.value, at);
    store_float(type, is_padding ? constant.padded : constant.value,
                at + storage_spec(type).block_bytes);
  }

  Status copy(const char* name) {
    const std::string path = fs::path(request_.source) / name;
    CRIA_ASSIGN_OR_RETURN(const std::string text, read_text_if_exists(path));
    if (text.empty()) return {};
    return write_text(out_.file(name), text);
  }

  Status write_config() {
    const std::string path = fs::path(request_.source) / kConfig;
    CRIA_ASSIGN_OR_RETURN(const std::string text, read_text_if_exists(path));
    CRIA_ASSIGN_OR_RETURN(Json json, parse_strict_json(text, path));
    json["num_hidden_layers"] = large_.n_layers;
    json["hidden_size"] = large_.hidden;
    json["intermediate_size"] = large_.ffn;
    json["num_attention_heads"] = large_.n_heads;
    json["num_key_value_heads"] = large_.n_kv_heads;
    json["head_dim"] = large_.head_dim;
    json["vocab_size"] = large_.n_vocab;
    json["max_position_embeddings"] = large_.max_context;
    json["rms_norm_eps"] = static_cast<double>(placement_.norm_epsilon());
    json["tie_word_embeddings"] = large_.tied_embeddings;
    return write_text(out_.file(kConfig), json.dump(2) + "\n");
  }

  Status report_progress(std::uint64_t more_bytes) {
    done_bytes_ += more_bytes;
    if (!request_.progress) return {};
    if (request_.progress("inflate", done_bytes_, total_bytes_)) return {};
    return cancelled("{}: inflating was cancelled", request_.out_folder);
  }

  const InflateRequest& request_;
  const Checkpoint& checkpoint_;
  const Placement& placement_;
  OutputFolder out_;
  LlamaConfig large_;
  std::vector<std::byte> row_;
  std::uint64_t done_bytes_ = 0;
  std::uint64_t total_bytes_ = 0;
  InflateSummary summary_;
};

}  // namespace

std::span<const NamedShape> named_shapes() {
  static const NamedShape kShapes[] = {{"1b", sizes(16, 2048, 8192, 32, 8, 64)},
                                       {"3b", sizes(28, 3072, 8192, 24, 8, 128)},
                                       {"1.1b", sizes_of_1_1b()},
                                       {"small", sizes_for_tests()}};
  return kShapes;
}

Result<InflateSummary> inflate_checkpoint(const InflateRequest& request) {
  CRIA_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                        open_checkpoint(request.source));
  std::error_code error;
  if (!fs::exists(fs::path(request.source) / kConfig, error)) {
    return unsupported("{}: only Hugging Face folders are inflated", request.source);
  }
  for (const StoredWeight& weight : checkpoint->weights()) {
    if (!weight.source) continue;
    return unsupported("{}: {} is quantized ({}); only folders of f32, f16 and bf16 are inflated",
                       request.source, quote(weight.file_name), weight.type_name());
  }
  Result<Placement> placement = Placement::create(checkpoint->config(), request.sizes);
  if (!placement.ok()) return std::move(placement).status().with_context(request.source);
  return Inflation(request, *checkpoint, *placement).run();
}

}  // namespace cria
