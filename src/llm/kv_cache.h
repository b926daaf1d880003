// The caller-owned memory of one sequence: keys and values of every position seen so far.
#pragma once

#include <cstdint>
#include <span>

#include "base/aligned_buffer.h"
#include "base/result.h"

namespace cria {

// Allocated once; a run writes position after position and never reads what lies behind position(),
// so that a run after reset() equals a run on fresh memory bit for bit.
// Thread-safety: one call at a time may use a cache.
class KvCache {
 public:
  // Zeroed, page-aligned memory. Pages that no position has touched cost nothing, but up to 256 MB
  // those pages are huge ones where the system has them: the first prompt then touches all.
  // kInvalidArgument: zero bytes. kOutOfResources: no memory.
  static Result<KvCache> allocate(std::uint64_t size_bytes);

  std::uint64_t size_bytes() const { return memory_.size_bytes(); }
  std::int64_t n_ctx() const { return n_ctx_; }        // positions there is room for; 0 until bound
  std::int64_t position() const { return position_; }  // tokens in it
  std::int64_t remaining() const { return n_ctx_ - position_; }

  // Cuts the memory into positions: called by the model before it first writes, with its own size
  // of a position, its longest context, and the number of which positions are a multiple.
  // kOutOfResources: not even `granularity` positions fit. kInvalidArgument: the cache holds tokens
  // of a model with another size of a position.
  Status bind(std::uint64_t bytes_per_position, std::int64_t max_context,
              std::int64_t granularity = 1);

  void reset() { position_ = 0; }
  void wipe();  // reset(), and every byte becomes zero
  // Forgets the positions from `position` on. kInvalidArgument if it lies ahead or below zero.
  Status rewind(std::int64_t position);
  // Counts `n_tokens` just written. REQUIRES: 0 <= n_tokens <= remaining().
  void advance(std::int64_t n_tokens) { position_ += n_tokens; }

  // The memory of the n_ctx() positions.
  std::span<std::byte> bytes() { return memory_.bytes().subspan(0, used_bytes_); }

 private:
  AlignedBuffer memory_;
  std::uint64_t bytes_per_position_ = 0;
  std::uint64_t used_bytes_ = 0;  // n_ctx_ * bytes_per_position_
  std::int64_t n_ctx_ = 0;
  std::int64_t position_ = 0;
};

}  // namespace cria
