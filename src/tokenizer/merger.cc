#include "tokenizer/merger.h"

#include <algorithm>

namespace cria {

void Merger::merge(std::vector<std::int32_t>& ids, std::size_t begin) {
  const std::size_t n = ids.size() - begin;
  if (n < 2) return;
  if (n <= max_scanned_) {
    merge_by_scanning(ids, begin);
  } else {
    merge_by_heap(ids, begin);
  }
}

void Merger::merge_by_scanning(std::vector<std::int32_t>& ids, std::size_t begin) {
  const auto pair_at = [&](std::size_t i) {
    return view_.find_pair(ids[begin + i], ids[begin + i + 1]);
  };
  std::size_t n_pairs = ids.size() - begin - 1;
  pairs_.clear();
  for (std::size_t i = 0; i < n_pairs; ++i) pairs_.push_back(pair_at(i));
  while (n_pairs > 0) {
    std::size_t best = n_pairs;
    for (std::size_t i = 0; i < n_pairs; ++i) {
      if (pairs_[i].merged == kNoToken) continue;
      if (best == n_pairs || pairs_[i].rank < pairs_[best].rank) best = i;
    }
    if (best == n_pairs) break;
    const auto at = static_cast<std::ptrdiff_t>(best);
    ids[begin + best] = pairs_[best].merged;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(begin) + at + 1);
    pairs_.erase(pairs_.begin() + at);
    --n_pairs;
    if (best < n_pairs) pairs_[best] = pair_at(best);
    if (best > 0) pairs_[best - 1] = pair_at(best - 1);
  }
}

void Merger::push_candidate(std::int32_t position) {
  const Symbol& left = symbols_[static_cast<std::size_t>(position)];
  if (left.next < 0) return;
  const std::int32_t right_id = symbols_[static_cast<std::size_t>(left.next)].id;
  const PairMerge pair = view_.find_pair(left.id, right_id);
  if (pair.merged == kNoToken) return;
  heap_.push_back({pair.rank, position, left.id, right_id, pair.merged});
  std::push_heap(heap_.begin(), heap_.end());
}

void Merger::apply(const Candidate& candidate) {
  Symbol& left = symbols_[static_cast<std::size_t>(candidate.position)];
  if (left.id != candidate.left || left.next < 0) return;  // changed since it was pushed
  Symbol& right = symbols_[static_cast<std::size_t>(left.next)];
  if (right.id != candidate.right) return;
  left.id = candidate.merged;
  left.next = right.next;
  right.id = kNoToken;
  if (left.next >= 0) symbols_[static_cast<std::size_t>(left.next)].previous = candidate.position;
  push_candidate(candidate.position);
  if (left.previous >= 0) push_candidate(left.previous);
}

void Merger::merge_by_heap(std::vector<std::int32_t>& ids, std::size_t begin) {
  const auto n = static_cast<std::int32_t>(ids.size() - begin);
  symbols_.clear();
  heap_.clear();
  for (std::int32_t i = 0; i < n; ++i) {
    symbols_.push_back(
        {ids[begin + static_cast<std::size_t>(i)], i - 1, i + 1 < n ? i + 1 : kNoToken});
  }
  for (std::int32_t i = 0; i + 1 < n; ++i) push_candidate(i);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end());
    const Candidate candidate = heap_.back();
    heap_.pop_back();
    apply(candidate);
  }
  ids.resize(begin);
  for (std::int32_t i = 0; i >= 0; i = symbols_[static_cast<std::size_t>(i)].next) {
    ids.push_back(symbols_[static_cast<std::size_t>(i)].id);
  }
}

}  // namespace cria
