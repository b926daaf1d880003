// A host and arguments for one method of a delegate, without a runtime, for tests.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "cria/delegate.h"
#include "tensor/encoding.h"

namespace cria {

// Runs tasks on the calling thread, last one first. Named data are page-aligned.
class FakeHost {
 public:
  FakeHost() {
    host_.context = this;
    host_.n_threads = 3;
    host_.get_named_data = [](void* context, const char* key, cria_bytes* out) -> int {
      auto& data = static_cast<FakeHost*>(context)->data_;
      const auto found = data.find(key);
      if (found == data.end()) return 4;  // kNotFound
      *out = {found->second.buffer.data() + found->second.offset, found->second.size_bytes};
      return 0;
    };
    host_.parallel_for = [](void*, int64_t n_tasks, void (*task)(void*, int64_t, int32_t),
                            void* argument) {
      for (int64_t i = n_tasks - 1; i >= 0; --i) task(argument, i, static_cast<int32_t>(i % 3));
    };
    host_.set_error = [](void* context, const char* message) {
      static_cast<FakeHost*>(context)->message = message;
    };
  }
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  // `offset` moves the data off their alignment.
  void add(const std::string& key, std::size_t size_bytes, std::uint8_t fill = 0,
           std::size_t offset = 0) {
    Data data{*AlignedBuffer::allocate(size_bytes + offset + 1), size_bytes, offset};
    std::memset(data.buffer.data(), fill, data.buffer.size_bytes());
    data_[key] = std::move(data);
  }
  void remove(const std::string& key) { data_.erase(key); }

  // All weights of a plan or of commands, in their right sizes.
  template <typename Weight>
  void add_weights(const std::vector<Weight>& weights) {
    for (const Weight& weight : weights) {
      const auto n_cols = static_cast<std::size_t>(weight.n_cols);
      // 0x1c bytes: small positive halves and floats, so that nothing overflows.
      add(weight.key,
          weight.packed ? packed_size_bytes(weight.encoding, weight.n_rows, weight.n_cols).value()
                        : n_cols * sizeof(float),
          0x1c);
    }
  }

  const cria_host* table() const { return &host_; }
  // Keeps the records of what runs, and what linears read, from the next init on.
  void listen() {
    host_.observe_input = [](void* context, const cria_input_record* record) {
      ShownInput shown{{}, record->n_rows, record->n_cols, {}};
      for (std::size_t i = 0; i < record->n_weights; ++i)
        shown.weights.emplace_back(record->weights[i]);
      shown.rows.assign(record->rows, record->rows + record->n_rows * record->n_cols);
      static_cast<FakeHost*>(context)->shown.push_back(std::move(shown));
    };
    record();
  }
  // The records only.
  void record() {
    host_.record_op = [](void* context, const cria_op_record* record) {
      static_cast<FakeHost*>(context)->records.push_back(*record);
    };
  }
  struct ShownInput {
    std::vector<std::string> weights;
    std::int64_t n_rows = 0, n_cols = 0;
    std::vector<float> rows;
  };
  std::vector<cria_op_record> records;  // their texts live as long as the method
  std::vector<ShownInput> shown;
  std::string message;  // the last error

 private:
  struct Data {
    AlignedBuffer buffer;
    std::size_t size_bytes = 0, offset = 0;
  };
  cria_host host_{};
  std::map<std::string, Data> data_;
};

// The five arguments of a call with memory of their own.
class FakeArguments {
 public:
  // Of a plan or of commands.
  template <typename Compiled>
  FakeArguments(const Compiled& plan, std::int64_t n_tokens, std::int64_t n_ctx)
      : tokens(static_cast<std::size_t>(n_tokens)) {
    std::uint64_t per_position = 0;
    if constexpr (requires { plan.kv; }) {
      per_position = plan.kv.bytes_per_position();
    } else {
      per_position = plan.cache.bytes_per_position();
    }
    const auto n = static_cast<std::size_t>(n_ctx);
    kv = *AlignedBuffer::allocate(n * per_position + 1);
    scratch = *AlignedBuffer::allocate(plan.scratch_bytes + 1);
    logits.resize(static_cast<std::size_t>(n_tokens * plan.n_vocab));
    args = {
        {tokens.data(), tokens.size() * 8, 4, 2, {1, n_tokens}},
        {&position, 8, 4, 1, {1}},
        {kv.data(), n * per_position, 0, 2, {n_ctx, static_cast<std::int64_t>(per_position)}},
        {scratch.data(), plan.scratch_bytes, 0, 1, {static_cast<std::int64_t>(plan.scratch_bytes)}},
        {logits.data(), logits.size() * 4, 6, 3, {1, n_tokens, plan.n_vocab}}};
  }
  FakeArguments(const FakeArguments&) = delete;
  FakeArguments& operator=(const FakeArguments&) = delete;

  std::vector<std::int64_t> tokens;
  std::int64_t position = 0;
  AlignedBuffer kv, scratch;
  std::vector<float> logits;
  std::vector<cria_tensor> args;
};

}  // namespace cria
