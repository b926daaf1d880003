#include "api/method_parts.h"

#include <algorithm>

#include "delegates/cpu/cpu_delegate.h"
#include "delegates/sim_npu/sim_npu_delegate.h"
#include "format/pte/call_order.h"
#include "format/pte/pte_program.h"
#include "format/pte/pte_reader.h"
#include "runtime/program.h"

namespace cria {
Result<MethodParts> read_method_parts(const Program& program, const std::string& method) {
  CRIA_ASSIGN_OR_RETURN(const pte::ExecutionPlan* execution, program.plan(method));
  MethodParts made;
  for (const pte::Chain& chain : execution->chains) {
    for (const pte::Instruction& instruction : chain.instructions) {
      const auto* call = std::get_if<pte::DelegateCall>(&instruction);
      if (call == nullptr) return unsupported("method {} does more than calling delegates", method);
      const pte::BackendDelegate& delegate =
          execution->delegates.at(static_cast<std::size_t>(call->delegate_index));
      const std::span<const std::byte> blob = program.pte().delegate_blob(delegate);
      MethodPart& part = made.parts.emplace_back();
      const std::size_t index = made.parts.size() - 1;
      CRIA_ASSIGN_OR_RETURN(const auto after, pte::read_call_order(delegate, index));
      if (after) part.after = *after;
      if (!after && index > 0) part.after = {index - 1};
      std::int64_t max_tokens = 0;
      if (delegate.id == sim_npu_delegate()->name) {
        part.on_npu = true;
        CRIA_ASSIGN_OR_RETURN(part.commands, decode_npu_commands(blob, "method " + method));
        max_tokens = part.commands.max_tokens;
      } else if (delegate.id == cpu_delegate()->name) {
        CRIA_ASSIGN_OR_RETURN(part.plan, decode_plan(blob, "method " + method));
        max_tokens = part.plan.max_tokens;
      } else {
        return unsupported("method {} calls {}, expected {} or {}", method, delegate.id,
                           cpu_delegate()->name, sim_npu_delegate()->name);
      }
      made.max_tokens = index == 0 ? max_tokens : std::min(made.max_tokens, max_tokens);
    }
  }
  return made;
}

}  // namespace cria
