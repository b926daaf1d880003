// A compiled model in memory, and the cache that its runs write.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cria/observe.h"
#include "cria/profile.h"
#include "cria/status.h"
#include "cria/tokenizer.h"

namespace cria {

struct EngineOptions {
  int n_threads = 0;  // 0: as many as the power profile says
  // "high_performance": all cores, and threads that wait spin; "balanced": all cores, and threads
  // that wait sleep; "low_power": half the cores, they sleep, and at most 10 tokens a second are
  // generated.
  std::string power_profile = "high_performance";
  std::string activations;  // "a8", "a16" or empty: what the program was compiled for
  // "cpu", "sim:NAME": a program for another device is refused. Empty: whatever it was compiled
  // for.
  std::string device;
  // How prompts are cut, under llama.cpp's names; results do not depend on it. 0: as the program's
  // methods want it, and never more than they take.
  std::int64_t n_batch = 0;   // tokens after which a new step begins
  std::int64_t n_ubatch = 0;  // most tokens of a step
  OnOp on_op;                 // hears of every op that runs; empty: nothing is timed
  OnLinearInput on_input;     // sees what linears read; empty: nothing is shown
};

struct ModelInfo {
  std::int64_t n_vocab = 0;
  std::int64_t n_layers = 0;
  std::int64_t max_context = 0;    // positions a cache may have at most
  std::int64_t n_batch = 0;        // EngineOptions::n_batch, or prefill_chunk
  std::int64_t prefill_chunk = 0;  // most tokens of one prefill step
  std::int64_t verify_chunk = 0;   // of one step with all logits; 0: the program has none
  std::int64_t n_parameters = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t weight_bytes = 0;
  std::uint64_t kv_bytes_per_position = 0;
  std::string description;   // "llama 1.2B q4"
  std::string device;        // "cpu", "sim:hexagon-v79"; "?": delegates of others
  std::string activations;   // what runs use
  std::string cache_type_k;  // elements of the KV cache: "f16" or "q8_0"; "?": it does not say
  std::string cache_type_v;
  std::int32_t bos_id = -1;
  std::vector<std::int32_t> eos_ids;
  double load_seconds = 0;
};

// What a forward call must touch and compute at least, whatever the kernels: divided by its time
// and by what the machine can do (cria/machine.h) it says how good they are.
struct ForwardCost {
  std::uint64_t weight_bytes = 0;  // read: all that its steps use, of the embedding one row a token
  std::uint64_t kv_bytes = 0;      // of the cache, read and written
  std::uint64_t linear_macs = 0;   // multiply-adds of the weight matrices
  std::uint64_t attention_macs = 0;

  std::uint64_t bytes() const { return weight_bytes + kv_bytes; }
  std::uint64_t macs() const { return linear_macs + attention_macs; }
  void add(const ForwardCost& other) {
    weight_bytes += other.weight_bytes;
    kv_bytes += other.kv_bytes;
    linear_macs += other.linear_macs;
    attention_macs += other.attention_macs;
  }
};

// The preallocated cache of keys and values of one sequence, and the sequence's position. The
// caller owns it; the engine keeps no state of its own between calls. Thread-safety: one call at a
// time may use a cache.
class KvCacheBuffer {
 public:
  // `size_bytes`: from Engine::kv_cache_bytes(n_ctx). The memory is zero and page-aligned.
  static Result<KvCacheBuffer> allocate(std::uint64_t size_bytes);
  KvCacheBuffer(KvCacheBuffer&&) noexcept;
  KvCacheBuffer& operator=(KvCacheBuffer&&) noexcept;
  ~KvCacheBuffer();

  std::uint64_t size_bytes() const;
  std::int64_t position() const;  // tokens seen so far
  void reset();                   // position 0: the next run equals a fresh one bit for bit
  void wipe();                    // reset, and every byte becomes zero
  // Forgets the positions from `position` on. kInvalidArgument if it lies ahead.
  Status rewind(std::int64_t position);

  class Impl;
  Impl& impl() { return *impl_; }

 private:
  KvCacheBuffer();
  std::unique_ptr<Impl> impl_;
};

// A compiled program, mapped read-only. Cheap to copy (shared).
// Thread-safety: forward calls of one engine run one after another; everything else is const.
class Engine {
 public:
  static Result<Engine> load(const std::string& pte_path, const EngineOptions& options = {});

  const ModelInfo& info() const;
  int n_threads() const;
  // The tokenizer inside the program; kNotFound when it was compiled without one.
  Result<TextTokenizer> tokenizer() const;

  // Bytes of a cache for `n_ctx` positions. kInvalidArgument unless 1 <= n_ctx <=
  // info().max_context.
  Result<std::uint64_t> kv_cache_bytes(std::int64_t n_ctx) const;

  // Appends `ids` to the sequence in `cache` and gives the logits of the last one: `logits` has
  // n_vocab floats. On error the cache is as before. kOutOfResources: more tokens than the cache
  // has room for.
  Status forward(std::span<const std::int32_t> ids, KvCacheBuffer& cache,
                 std::span<float> logits) const;

  // The same, with the logits of every id: [ids.size(), n_vocab] floats.
  Status forward_all(std::span<const std::int32_t> ids, KvCacheBuffer& cache,
                     std::span<float> logits) const;

  // Of forward() with `n_tokens` ids in a cache that holds `position` tokens, cut into the same
  // steps. Zeros for the methods of delegates whose plans cria cannot read.
  ForwardCost forward_cost(std::int64_t n_tokens, std::int64_t position) const;
  // The same of forward_all().
  ForwardCost forward_all_cost(std::int64_t n_tokens, std::int64_t position) const;

  class Impl;
  Impl& impl() const { return *impl_; }

 private:
  explicit Engine(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace cria
