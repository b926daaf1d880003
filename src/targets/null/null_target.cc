#include "targets/null/null_target.h"

namespace cria {
namespace {

class NullTarget final : public Target {
 public:
  const char* name() const override { return "null"; }

  TargetLimits limits() const override { return {.max_tokens = 1, .scratch_bytes = 0}; }

  Support supports(const ir::Graph&, const ir::Op&) const override {
    return {false, "the null target runs nothing"};
  }

  Support supports(Encoding) const override { return {false, "the null target reads no weights"}; }

  Result<CompiledMethod> compile(const ir::Graph& graph, const MethodRequest&) const override {
    for (const ir::Op& op : graph.ops) {
      if (const Support support = supports(graph, op); !support.supported) {
        return unsupported("null: {} of method {}: {}", ir::op_spec(op.kind).name, graph.name,
                           support.reason);
      }
    }
    return internal_error("null: method {} has no ops", graph.name);
  }
};

}  // namespace

const Target& null_target() {
  static const NullTarget target;
  return target;
}

}  // namespace cria
