#include "delegates/sim_npu/sim_npu_delegate.h"

#include <exception>
#include <string_view>

#include "delegates/sim_npu/sim_npu_method.h"

namespace cria {
namespace {

struct Handle {
  cria_host host;
  std::unique_ptr<SimNpuMethod> method;
};

int report(const cria_host& host, const Status& status) {
  if (!status.ok()) host.set_error(host.context, status.message().c_str());
  return static_cast<int>(status.code());
}

// Nothing may throw across the C interface.
template <typename Function>
int guarded(const cria_host& host, Function&& function) {
  try {
    return report(host, function());
  } catch (const std::exception& error) {
    return report(host, out_of_resources("{}", error.what()));
  }
}

Status read_options(const cria_option* options, std::size_t n_options, SimNpuOptions& parsed) {
  std::string compiled_act;
  for (std::size_t i = 0; i < n_options; ++i) {
    const std::string_view key = options[i].key, value = options[i].value;
    if (key == "act") {
      if (value != "a8" && value != "a16")
        return invalid_argument("option act is '{}', expected a8 or a16", value);
      if (!compiled_act.empty() && compiled_act != value) {
        return unsupported("compiled for activations in {}; --act {} needs the checkpoint",
                           compiled_act, value);
      }
      compiled_act = value;
    } else if (key == "device") {
      if (!parsed.device.empty() && parsed.device != value) {
        return unsupported("compiled for {}, not for {}; compile the model again", parsed.device,
                           value);
      }
      parsed.device = value;
    } else if (key == "isa") {
      const std::optional<Isa> isa = isa_from_name(value);
      if (!isa) return invalid_argument("option isa is '{}', which is no instruction set", value);
      if (!cpu_supports(*isa)) return unsupported("this processor has no {}", value);
      parsed.isa = *isa;
    } else {
      return invalid_argument("option '{}' is not known, there are: act, device, isa", key);
    }
  }
  return {};
}

int is_available() { return 1; }

int init(const cria_host* host, cria_bytes blob, const cria_option* options, size_t n_options,
         void** handle) {
  return guarded(*host, [&]() -> Status {
    SimNpuOptions parsed{.isa = best_isa()};
    CRIA_RETURN_IF_ERROR(read_options(options, n_options, parsed));
    const std::span bytes(static_cast<const std::byte*>(blob.data), blob.size_bytes);
    CRIA_ASSIGN_OR_RETURN(std::unique_ptr<SimNpuMethod> method,
                          SimNpuMethod::create(*host, bytes, parsed));
    *handle = new Handle{*host, std::move(method)};
    return {};
  });
}

int execute(void* handle, cria_tensor* args, size_t n_args) {
  Handle& h = *static_cast<Handle*>(handle);
  return guarded(h.host, [&] { return h.method->execute({args, n_args}); });
}

void destroy(void* handle) { delete static_cast<Handle*>(handle); }

constexpr cria_delegate kSimNpuDelegate = {
    CRIA_DELEGATE_ABI_VERSION, "CriaSimNpuBackend", is_available, init, execute, destroy, 1,
};

}  // namespace

const cria_delegate* sim_npu_delegate() { return &kSimNpuDelegate; }

}  // namespace cria
