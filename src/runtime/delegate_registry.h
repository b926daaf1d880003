// The devices that programs may name.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cria/delegate.h"

namespace cria {

// Delegate tables by name. Whoever builds an application adds the delegates it links (src/api for
// cria's own); nothing registers itself and the runtime names none.
// Thread-safety: all methods are safe from any thread.
class DelegateRegistry {
 public:
  // `delegate` must outlive the registry and everything made with it. kInvalidArgument: no name, a
  // missing function, or a name that is taken. kUnsupported: built for another version of
  // cria/delegate.h.
  Status add(const cria_delegate* delegate);

  // kNotFound lists the names there are. A delegate whose device is absent is found all the same.
  Result<const cria_delegate*> find(std::string_view name) const;

  std::vector<std::string> names() const;  // sorted

 private:
  std::string names_text() const;  // REQUIRES: mutex_ held

  mutable std::mutex mutex_;
  std::map<std::string, const cria_delegate*, std::less<>> delegates_;
};

}  // namespace cria
