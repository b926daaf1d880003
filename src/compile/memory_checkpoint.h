// A checkpoint without a file: test support.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "model/graph.h"
#include "tensor/float16.h"

namespace cria {

// A small random model in memory, of any float storage type.
class MemoryCheckpoint : public Checkpoint {
 public:
  explicit MemoryCheckpoint(StorageType type = StorageType::kF32, bool tied = true) {
    config_.n_layers = 2;
    config_.hidden = 96;  // not a multiple of 64
    config_.ffn = 80;     // not a multiple of 32
    config_.n_heads = 4;
    config_.n_kv_heads = 2;
    config_.head_dim = 16;
    config_.n_vocab = 50;  // not a multiple of 16
    config_.max_context = 128;
    config_.tied_embeddings = tied;
    for (int i = 0; i < 8; ++i) config_.rope_inverse_frequencies.push_back(std::pow(0.3f, i));
    auto vocabulary = std::make_shared<Vocabulary>();
    vocabulary->bos_id = 1;
    vocabulary->eos_ids = {2, 7};
    vocabulary_ = vocabulary;
    description_ = "in memory \xff";  // not UTF-8

    const Result<ir::Graph> graph = build_llama_graph(config_, {});
    EXPECT_TRUE(graph.ok()) << graph.status().message();
    for (const ir::Weight& weight : graph->weights) {
      if (weight.name != kRopeFrequencies) add(weight, type);
    }
  }

  // The n-th number of a weight, in file order.
  void set(const std::string& name, std::int64_t index, float value) {
    StoredWeight& stored = find(name);
    auto* bytes = const_cast<std::byte*>(stored.bytes.data());
    if (stored.type == StorageType::kF32) {
      std::memcpy(bytes + 4 * index, &value, 4);
    } else {
      const std::uint16_t half =
          stored.type == StorageType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
      std::memcpy(bytes + 2 * index, &half, 2);
    }
  }

  StoredWeight& find(const std::string& name) {
    for (StoredWeight& stored : weights_) {
      if (stored.name == name) return stored;
    }
    ADD_FAILURE() << name;
    return weights_[0];
  }

  void remove(const std::string& name) { find(name).name = "removed"; }

 private:
  void add(const ir::Weight& weight, StorageType type) {
    StoredWeight stored;
    stored.name = weight.name;
    stored.file_name = "file." + weight.name;
    stored.type = type;
    stored.n_rows = weight.n_rows;
    stored.n_cols = weight.n_cols;
    if (weight.name.find("attn_q") != std::string::npos) stored.interleaved_heads = 4;
    const std::size_t size_bytes = weight.n_rows * storage_row_bytes(type, weight.n_cols);
    storage_.push_back(std::make_unique<std::vector<std::byte>>(size_bytes));
    stored.bytes = *storage_.back();
    weights_.push_back(stored);
    std::normal_distribution<float> normal(weight.n_rows == 1 ? 1.0f : 0.0f, 0.1f);
    for (std::int64_t i = 0; i < weight.n_rows * weight.n_cols; ++i) {
      set(weight.name, i, normal(random_));
    }
  }

  std::mt19937 random_{3};
  std::vector<std::unique_ptr<std::vector<std::byte>>> storage_;
};

}  // namespace cria
