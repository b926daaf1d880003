// The merging of byte pair encoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tokenizer/tokenizer_blob.h"

namespace cria {

// Sequences up to this length are merged by scanning, longer ones with a heap: scanning is quicker
// on the few symbols of a word, the heap keeps a megabyte without a break from taking hours.
inline constexpr std::size_t kMaxScannedSymbols = 48;

// Scratch memory for merging. The view must outlive it.
// Thread-safety: one thread at a time.
class Merger {
 public:
  explicit Merger(const TokenizerView& view, std::size_t max_scanned = kMaxScannedSymbols)
      : view_(view), max_scanned_(max_scanned) {}

  // Merges neighbours in ids[begin, end of ids) until no two merge: always the pair of the lowest
  // rank, of equal ranks the leftmost. n symbols take n log n steps.
  void merge(std::vector<std::int32_t>& ids, std::size_t begin);

 private:
  struct Symbol {
    std::int32_t id;  // kNoToken: swallowed by the symbol before
    std::int32_t previous, next;
  };
  struct Candidate {
    std::uint32_t rank;
    std::int32_t position, left, right, merged;
    // A heap keeps its greatest on top: the greatest is the lowest rank, then the leftmost.
    bool operator<(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };

  void merge_by_scanning(std::vector<std::int32_t>& ids, std::size_t begin);
  void merge_by_heap(std::vector<std::int32_t>& ids, std::size_t begin);
  void push_candidate(std::int32_t position);
  void apply(const Candidate& candidate);

  const TokenizerView& view_;
  std::size_t max_scanned_;
  std::vector<PairMerge> pairs_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

}  // namespace cria
