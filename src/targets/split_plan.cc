#include "targets/split_plan.h"

#include <algorithm>

namespace cria {
namespace {

// Copies what ops use of a plan, each thing once, and counts anew.
class PartBuilder {
 public:
  PartBuilder(const Plan& whole, bool on_npu)
      : whole_(whole),
        buffer_of_(whole.buffers.size(), kNoBuffer),
        weight_of_(whole.weights.size(), kNoBuffer) {
    part_.on_npu = on_npu;
    part_.plan.max_tokens = whole.max_tokens;
    part_.plan.n_vocab = whole.n_vocab;
    part_.plan.kv = whole.kv;
    part_.plan.scratch_bytes = whole.scratch_bytes;
    part_.plan.is_part = true;
  }

  void add(PlanOp op) {
    for (std::uint32_t* id : {&op.x, &op.y, &op.out}) {
      if (*id != kNoBuffer) *id = add_once(*id, buffer_of_, whole_.buffers, part_.plan.buffers);
    }
    for (std::uint32_t& id : op.weights)
      id = add_once(id, weight_of_, whole_.weights, part_.plan.weights);
    part_.plan.ops.push_back(std::move(op));
  }
  void add_import(std::uint32_t buffer) {
    part_.plan.imports.push_back(add_once(buffer, buffer_of_, whole_.buffers, part_.plan.buffers));
  }
  void add_export(std::uint32_t buffer) { part_.exports.push_back(buffer_of_[buffer]); }
  bool on_npu() const { return part_.on_npu; }
  PlanPart take() { return std::move(part_); }

 private:
  template <typename T>
  static std::uint32_t add_once(std::uint32_t id, std::vector<std::uint32_t>& known,
                                const std::vector<T>& from, std::vector<T>& to) {
    if (known[id] == kNoBuffer) {
      known[id] = static_cast<std::uint32_t>(to.size());
      to.push_back(from[id]);
    }
    return known[id];
  }

  const Plan& whole_;
  std::vector<std::uint32_t> buffer_of_, weight_of_;  // of the part, by that of the whole
  PlanPart part_;
};

// Bytes of the scratch memory that all parts share, or halves of layers of the cache.
struct Range {
  std::uint64_t begin = 0, end = 0;
  bool cache = false, write = false;
  bool conflicts(const Range& other) const {
    return cache == other.cache && (write || other.write) && begin < other.end && other.begin < end;
  }
};

void add_scratch(const Plan& plan, std::uint32_t buffer, bool write, std::vector<Range>& ranges) {
  if (buffer == kNoBuffer) return;
  const PlanBuffer& b = plan.buffers[buffer];
  const std::int64_t n_rows = b.single_row ? 1 : plan.max_tokens;
  const auto bytes = static_cast<std::uint64_t>(b.width * n_rows) * sizeof(float);
  ranges.push_back({b.offset_bytes, b.offset_bytes + bytes, false, write});
}

std::vector<Range> ranges_of(const Plan& plan) {
  std::vector<Range> ranges;
  for (const PlanOp& op : plan.ops) {
    add_scratch(plan, op.x, false, ranges);
    add_scratch(plan, op.y, false, ranges);
    add_scratch(plan, op.out, true, ranges);
    const auto layer = static_cast<std::uint64_t>(op.layer);
    if (op.kind == PlanOpKind::kKvAppend) ranges.push_back({2 * layer, 2 * layer + 2, true, true});
    if (op.kind == PlanOpKind::kAttention)
      ranges.push_back({2 * layer, 2 * layer + 2, true, false});
    if (op.kind == PlanOpKind::kScores) ranges.push_back({2 * layer, 2 * layer + 1, true, false});
    if (op.kind == PlanOpKind::kMix) ranges.push_back({2 * layer + 1, 2 * layer + 2, true, false});
  }
  return ranges;
}

bool conflict(const std::vector<Range>& a, const std::vector<Range>& b) {
  return std::ranges::any_of(a, [&](const Range& range) {
    return std::ranges::any_of(b, [&](const Range& other) { return range.conflicts(other); });
  });
}

void find_dependencies(std::vector<PlanPart>& parts) {
  std::vector<std::vector<Range>> ranges;
  std::vector<std::vector<bool>> reached;  // by part: the earlier ones that it comes after
  for (std::size_t i = 0; i < parts.size(); ++i) {
    ranges.push_back(ranges_of(parts[i].plan));
    std::vector<bool>& before = reached.emplace_back(i, false);
    for (std::size_t k = i; k-- > 0;) {
      if (before[k] || !conflict(ranges[i], ranges[k])) continue;
      parts[i].after.push_back(k);
      before[k] = true;
      for (std::size_t j = 0; j < k; ++j) before[j] = before[j] || reached[k][j];
    }
  }
}

}  // namespace

std::vector<PlanPart> split_plan(const Plan& plan, const std::vector<bool>& on_npu) {
  if (std::ranges::count(on_npu, on_npu.front()) == static_cast<std::ptrdiff_t>(on_npu.size())) {
    return {{on_npu.front(), plan, {}, {}}};
  }
  std::vector<PartBuilder> parts;
  // By buffer: the part that wrote it last, and whether a later one has read that.
  constexpr std::size_t kNobody = ~std::size_t{0};
  std::vector<std::size_t> writer(plan.buffers.size(), kNobody);
  std::vector<std::vector<bool>> imported, exported;
  for (std::size_t i = 0; i < plan.ops.size(); ++i) {
    // Scores of different heads are different submissions: who makes weights of the first need not
    // wait for the others.
    const bool next_scores = i > 0 && on_npu[i] && plan.ops[i].kind == PlanOpKind::kScores &&
                             plan.ops[i - 1].kind == PlanOpKind::kScores;
    if (parts.empty() || parts.back().on_npu() != on_npu[i] || next_scores) {
      parts.emplace_back(plan, on_npu[i]);
      imported.emplace_back(plan.buffers.size(), false);
      exported.emplace_back(plan.buffers.size(), false);
    }
    const std::size_t here = parts.size() - 1;
    const PlanOp& op = plan.ops[i];
    for (const std::uint32_t buffer : plan_op_reads(plan, op)) {
      const std::size_t from = writer[buffer];
      if (from == kNobody || from == here || imported[here][buffer]) continue;
      imported[here][buffer] = true;
      parts[here].add_import(buffer);
      if (!exported[from][buffer]) parts[from].add_export(buffer);
      exported[from][buffer] = true;
    }
    parts[here].add(op);
    if (op.out != kNoBuffer) writer[op.out] = here;
  }
  std::vector<PlanPart> made;
  for (PartBuilder& part : parts) made.push_back(part.take());
  find_dependencies(made);
  return made;
}

Plan cut_plan(const Plan& plan, std::size_t first, std::size_t end) {
  std::vector<bool> is_known(plan.buffers.size(), false);  // imported, or written by the part
  PartBuilder part(plan, false);
  for (std::size_t i = first; i < end; ++i) {
    const PlanOp& op = plan.ops[i];
    for (const std::uint32_t buffer : plan_op_reads(plan, op)) {
      if (!is_known[buffer]) part.add_import(buffer);
      is_known[buffer] = true;
    }
    part.add(op);
    if (op.out != kNoBuffer) is_known[op.out] = true;
  }
  return part.take().plan;
}

}  // namespace cria
