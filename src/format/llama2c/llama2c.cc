#include "format/llama2c/llama2c.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/byte_reader.h"

namespace cria {
namespace {

constexpr std::uint32_t kMagic = 0x616b3432;  // "ak42", as the version 1 exporter writes it
constexpr std::uint64_t kVersion1HeaderBytes = 256;

struct Limit {
  const char* field;
  std::int64_t Llama2cFile::*member;
  std::int64_t max;
};
// Far above what exists, and small enough that no product below leaves 63 bits.
constexpr Limit kLimits[] = {
    {"dim", &Llama2cFile::dim, 1 << 17},
    {"hidden_dim", &Llama2cFile::hidden_dim, 1 << 19},
    {"n_layers", &Llama2cFile::n_layers, 1 << 10},
    {"n_heads", &Llama2cFile::n_heads, 1 << 12},
    {"n_kv_heads", &Llama2cFile::n_kv_heads, 1 << 12},
    {"vocab_size", &Llama2cFile::vocab_size, 1 << 22},
    {"seq_len", &Llama2cFile::seq_len, 1 << 24},
};

Status read_sizes(ByteReader& reader, Llama2cFile& file) {
  for (const Limit& limit : kLimits) {
    CRIA_ASSIGN_OR_RETURN(file.*limit.member, reader.read<std::int32_t>(limit.field));
  }
  return {};
}

Status check_sizes(const Llama2cFile& file, std::string_view what) {
  for (const Limit& limit : kLimits) {
    const std::int64_t value = file.*limit.member;
    if (value < 1 || value > limit.max) {
      return bad_input("{}: not a llama2.c model: {} is {}, expected 1 to {}", what, limit.field,
                       value, limit.max);
    }
  }
  if (file.dim % file.n_heads != 0 || (file.dim / file.n_heads) % 2 != 0) {
    return bad_input("{}: not a llama2.c model: {} heads do not share {} dimensions in even parts",
                     what, file.n_heads, file.dim);
  }
  if (file.n_heads % file.n_kv_heads != 0) {
    return bad_input("{}: not a llama2.c model: {} heads cannot share {} key and value heads", what,
                     file.n_heads, file.n_kv_heads);
  }
  return {};
}

// Reads the header and leaves `reader` at the weights.
Result<Llama2cFile> read_header(ByteReader& reader) {
  Llama2cFile file;
  ByteReader ahead = reader;
  CRIA_ASSIGN_OR_RETURN(const auto magic, ahead.read<std::uint32_t>("the header"));
  if (magic != kMagic) {
    CRIA_RETURN_IF_ERROR(read_sizes(reader, file));
    file.shared_classifier = file.vocab_size > 0;
    file.vocab_size = std::abs(file.vocab_size);
  } else {
    CRIA_RETURN_IF_ERROR(reader.take(sizeof(magic), "the magic").status());
    CRIA_ASSIGN_OR_RETURN(file.version, reader.read<std::int32_t>("the version"));
    if (file.version != 1) {
      return unsupported("{}: llama2.c format version {}; versions 0 and 1 (float32) are read",
                         reader.what(), file.version);
    }
    CRIA_RETURN_IF_ERROR(read_sizes(reader, file));
    CRIA_ASSIGN_OR_RETURN(const auto shared, reader.read<std::uint8_t>("the shared head's flag"));
    file.shared_classifier = shared != 0;
    CRIA_RETURN_IF_ERROR(
        reader.take(kVersion1HeaderBytes - reader.offset(), "the header's padding").status());
  }
  CRIA_RETURN_IF_ERROR(check_sizes(file, reader.what()));
  return file;
}

// A run of equal tensors in the file: one per layer, or a single one.
struct TensorRun {
  const char* name;
  bool per_layer;
  std::int64_t n_rows;
  std::int64_t n_cols;
};

// All runs in file order. Version 0's rotary tables, which are skipped, have a null name.
std::vector<TensorRun> runs_in_file_order(const Llama2cFile& f) {
  const std::int64_t head_dim = f.dim / f.n_heads;
  const std::int64_t kv_dim = head_dim * f.n_kv_heads;
  const TensorRun embedding = {"token_embedding", false, f.vocab_size, f.dim};
  const TensorRun rms_att = {"rms_att", true, 1, f.dim};
  const TensorRun rms_ffn = {"rms_ffn", true, 1, f.dim};
  const TensorRun rms_final = {"rms_final", false, 1, f.dim};
  const std::vector<TensorRun> attention = {{"wq", true, f.dim, f.dim},
                                            {"wk", true, kv_dim, f.dim},
                                            {"wv", true, kv_dim, f.dim},
                                            {"wo", true, f.dim, f.dim}};
  const std::vector<TensorRun> feed_forward = {{"w1", true, f.hidden_dim, f.dim},
                                               {"w2", true, f.dim, f.hidden_dim},
                                               {"w3", true, f.hidden_dim, f.dim}};
  std::vector<TensorRun> runs;
  const auto append = [&](const std::vector<TensorRun>& more) {
    runs.insert(runs.end(), more.begin(), more.end());
  };
  if (f.version == 0) {
    append({embedding, rms_att});
    append(attention);
    append({rms_ffn});
    append(feed_forward);
    append({rms_final, {nullptr, false, 2 * f.seq_len, head_dim / 2}});
  } else {
    append({rms_att, rms_ffn, rms_final, embedding});
    append(attention);
    append(feed_forward);
  }
  if (!f.shared_classifier) append({{"wcls", false, f.vocab_size, f.dim}});
  return runs;
}

std::uint64_t run_bytes(const TensorRun& run, const Llama2cFile& file) {
  const std::int64_t n_tensors = run.per_layer ? file.n_layers : 1;
  return static_cast<std::uint64_t>(n_tensors * run.n_rows * run.n_cols) * sizeof(float);
}

// Appends the tensors of a run, which begin where `reader` is.
Status take_run(const TensorRun& run, ByteReader& reader, Llama2cFile& file) {
  if (run.name == nullptr) return reader.take(run_bytes(run, file), "the rotary tables").status();
  const std::int64_t n_tensors = run.per_layer ? file.n_layers : 1;
  for (std::int64_t i = 0; i < n_tensors; ++i) {
    Llama2cTensor tensor;
    tensor.name = run.per_layer ? fmt::format("{}.{}", run.name, i) : run.name;
    tensor.n_rows = run.n_rows;
    tensor.n_cols = run.n_cols;
    tensor.offset = reader.offset();
    const std::uint64_t size = run_bytes(run, file) / static_cast<std::uint64_t>(n_tensors);
    CRIA_ASSIGN_OR_RETURN(tensor.bytes, reader.take(size, tensor.name));
    file.tensors.push_back(std::move(tensor));
  }
  return {};
}

}  // namespace

const Llama2cTensor* Llama2cFile::find_tensor(std::string_view name) const {
  const auto found = std::ranges::find(tensors, name, &Llama2cTensor::name);
  return found == tensors.end() ? nullptr : &*found;
}

Result<Llama2cFile> parse_llama2c(std::span<const std::byte> bytes, std::string_view what) {
  ByteReader reader(bytes, what);
  CRIA_ASSIGN_OR_RETURN(Llama2cFile file, read_header(reader));
  const std::vector<TensorRun> runs = runs_in_file_order(file);
  std::uint64_t needed = reader.offset();
  for (const TensorRun& run : runs) needed += run_bytes(run, file);
  if (needed != bytes.size()) {
    return bad_input(
        "{}: not a whole llama2.c model: {} layers of width {} and {} tokens need {} bytes, the "
        "file has {}",
        what, file.n_layers, file.dim, file.vocab_size, needed, bytes.size());
  }
  for (const TensorRun& run : runs) CRIA_RETURN_IF_ERROR(take_run(run, reader, file));
  return file;
}

bool recognizes_llama2c(std::span<const std::byte> bytes) {
  std::uint32_t magic = 0;
  if (bytes.size() < sizeof(magic)) return false;
  std::memcpy(&magic, bytes.data(), sizeof(magic));
  if (magic == kMagic) return true;
  ByteReader reader(bytes, "");
  return read_header(reader).ok();
}

}  // namespace cria
