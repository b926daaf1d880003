#include "runtime/delegate_registry.h"

#include <fmt/ranges.h>

namespace cria {

Status DelegateRegistry::add(const cria_delegate* delegate) {
  if (delegate == nullptr) return invalid_argument("delegate registry: a null delegate");
  // The version comes first: another version's table may have no name at the place of ours.
  if (delegate->abi_version != CRIA_DELEGATE_ABI_VERSION) {
    return unsupported("delegate registry: a delegate of interface version {}, this build has {}",
                       delegate->abi_version, CRIA_DELEGATE_ABI_VERSION);
  }
  if (delegate->name == nullptr || delegate->name[0] == '\0') {
    return invalid_argument("delegate registry: a delegate without a name");
  }
  if (delegate->is_available == nullptr || delegate->init == nullptr ||
      delegate->execute == nullptr || delegate->destroy == nullptr) {
    return invalid_argument("delegate registry: {} lacks one of its four functions",
                            delegate->name);
  }
  std::lock_guard lock(mutex_);
  if (!delegates_.emplace(delegate->name, delegate).second) {
    return invalid_argument("delegate registry: {} is there already", delegate->name);
  }
  return {};
}

Result<const cria_delegate*> DelegateRegistry::find(std::string_view name) const {
  std::lock_guard lock(mutex_);
  const auto found = delegates_.find(name);
  if (found == delegates_.end()) {
    return not_found("no delegate {} in this build, there are: {}", name, names_text());
  }
  return found->second;
}

std::vector<std::string> DelegateRegistry::names() const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, delegate] : delegates_) names.push_back(name);
  return names;
}

std::string DelegateRegistry::names_text() const {
  std::vector<std::string_view> names;
  for (const auto& [name, delegate] : delegates_) names.push_back(name);
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace cria
