#include "format/llama2c/llama2c_builder.h"

namespace cria {
namespace {

template <typename T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

}  // namespace

std::string llama2c_bytes(const Llama2cShape& s, int version) {
  std::string bytes;
  if (version != 0) {
    append(bytes, std::uint32_t{0x616b3432});
    append(bytes, std::int32_t{version});
  }
  const bool negative = version == 0 && !s.shared_classifier;
  for (const std::int32_t size : {s.dim, s.hidden_dim, s.n_layers, s.n_heads, s.n_kv_heads,
                                  negative ? -s.vocab_size : s.vocab_size, s.seq_len}) {
    append(bytes, size);
  }
  if (version != 0) {
    append(bytes, std::uint8_t{s.shared_classifier});
    bytes.resize(256);
  }
  const int head_dim = s.dim / s.n_heads;
  const int kv_dim = head_dim * s.n_kv_heads;
  const int per_layer =
      2 * s.dim + 2 * s.dim * s.dim + 2 * kv_dim * s.dim + 3 * s.dim * s.hidden_dim;
  int n_floats = s.vocab_size * s.dim + s.n_layers * per_layer + s.dim;
  if (version == 0) n_floats += s.seq_len * head_dim;
  if (!s.shared_classifier) n_floats += s.vocab_size * s.dim;
  for (int i = 0; i < n_floats; ++i) append(bytes, static_cast<float>(i));
  return bytes;
}

}  // namespace cria
