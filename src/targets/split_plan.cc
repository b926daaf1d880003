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

// Buffers of which an op needs what was there.
std::vector<std::uint32_t> reads(const Plan& plan, const PlanOp& op) {
  std::vector<std::uint32_t> buffers;
  for (const std::uint32_t id : {op.x, op.y, plan_op_updates(plan, op) ? op.out : kNoBuffer}) {
    if (id != kNoBuffer) buffers.push_back(id);
  }
  return buffers;
}

}  // namespace

std::vector<PlanPart> split_plan(const Plan& plan, const std::vector<bool>& on_npu) {
  if (std::ranges::count(on_npu, on_npu.front()) == static_cast<std::ptrdiff_t>(on_npu.size())) {
    return {{on_npu.front(), plan, {}}};
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
    for (const std::uint32_t buffer : reads(plan, op)) {
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
  return made;
}

}  // namespace cria
