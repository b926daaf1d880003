#include "api/delegates.h"

#include <cassert>

#include "delegates/cpu/cpu_delegate.h"
#include "delegates/null/null_delegate.h"
#include "delegates/sim_npu/sim_npu_delegate.h"

namespace cria {

const DelegateRegistry& builtin_delegates() {
  static const DelegateRegistry& registry = []() -> const DelegateRegistry& {
    // Never destroyed: engines may outlive static destruction.
    auto* made = new DelegateRegistry();
    for (const cria_delegate* delegate : {cpu_delegate(), null_delegate(), sim_npu_delegate()}) {
      const Status added = made->add(delegate);
      assert(added.ok());
      static_cast<void>(added);
    }
    return *made;
  }();
  return registry;
}

}  // namespace cria
