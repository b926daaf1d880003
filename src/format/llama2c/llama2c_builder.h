// Writes llama2.c models in memory: test support.
#pragma once

#include <cstdint>
#include <string>

namespace cria {

struct Llama2cShape {
  std::int32_t dim = 8;
  std::int32_t hidden_dim = 12;
  std::int32_t n_layers = 2;
  std::int32_t n_heads = 4;
  std::int32_t n_kv_heads = 2;
  std::int32_t vocab_size = 10;
  std::int32_t seq_len = 16;
  bool shared_classifier = true;
};

// A file of format version 0 or 1. Float number `i` of the weights has the value i.
std::string llama2c_bytes(const Llama2cShape& shape, int version = 0);

}  // namespace cria
