#include "delegates/cpu/cpu_delegate.h"

#include <exception>
#include <memory>
#include <optional>
#include <string_view>

#include "delegates/cpu/cpu_method.h"

namespace cria {
namespace {

struct Handle {
  cria_host host;
  std::unique_ptr<CpuMethod> method;
};

int report(const cria_host& host, const Status& status) {
  if (!status.ok()) host.set_error(host.context, status.message().c_str());
  return static_cast<int>(status.code());
}

// Nothing may throw across the C interface; what is left to throw is the standard library out of
// memory.
template <typename Function>
int guarded(const cria_host& host, Function&& function) {
  try {
    return report(host, function());
  } catch (const std::exception& error) {
    return report(host, out_of_resources("{}", error.what()));
  }
}

Status read_option(std::string_view key, std::string_view value, CpuOptions& options) {
  if (key == "act") {
    if (value != "a8" && value != "a16") {
      return invalid_argument("option act is '{}', expected a8 or a16", value);
    }
    options.a8 = value == "a8";
    return {};
  }
  if (key == "isa") {
    const std::optional<Isa> isa = isa_from_name(value);
    if (!isa) return invalid_argument("option isa is '{}', which is no instruction set", value);
    if (!cpu_supports(*isa)) return unsupported("this processor has no {}", value);
    options.isa = *isa;
    return {};
  }
  return invalid_argument("option '{}' is not known, there are: act, isa", key);
}

int is_available() { return 1; }

int init(const cria_host* host, cria_bytes blob, const cria_option* options, size_t n_options,
         void** handle) {
  return guarded(*host, [&]() -> Status {
    CpuOptions parsed{.isa = best_isa()};
    for (size_t i = 0; i < n_options; ++i) {
      CRIA_RETURN_IF_ERROR(read_option(options[i].key, options[i].value, parsed));
    }
    const std::span bytes(static_cast<const std::byte*>(blob.data), blob.size_bytes);
    CRIA_ASSIGN_OR_RETURN(std::unique_ptr<CpuMethod> method,
                          CpuMethod::create(*host, bytes, parsed));
    *handle = new Handle{*host, std::move(method)};
    return {};
  });
}

int execute(void* handle, cria_tensor* args, size_t n_args) {
  Handle& h = *static_cast<Handle*>(handle);
  return guarded(h.host, [&] { return h.method->execute({args, n_args}); });
}

void destroy(void* handle) { delete static_cast<Handle*>(handle); }

constexpr cria_delegate kCpuDelegate = {
    CRIA_DELEGATE_ABI_VERSION, "CriaCpuBackend", is_available, init, execute, destroy,
};

}  // namespace

const cria_delegate* cpu_delegate() { return &kCpuDelegate; }

}  // namespace cria
