#include "delegates/null/null_delegate.h"

#include "cria/status.h"

namespace cria {
namespace {

constexpr int kOk = static_cast<int>(ErrorCode::kOk);
constexpr int kUnsupported = static_cast<int>(ErrorCode::kUnsupported);

// Everything that a prepared method needs: the decoded blob, pointers to weights, scratch memory.
struct NullMethod {
  cria_host host;
};

// A device asks its driver here; without a device nothing else is called.
int is_available() { return 1; }

// A device decodes `blob` (checking every index and size), binds weights with
// host->get_named_data, refuses options it does not know, and only then sets *handle.
int init(const cria_host* host, cria_bytes blob, const cria_option* options, size_t n_options,
         void** handle) {
  (void)blob;
  (void)options;
  (void)n_options;
  *handle = new NullMethod{*host};
  return kOk;
}

// A device checks n_args and every argument's dtype, shape and size, then runs.
int execute(void* handle, cria_tensor* args, size_t n_args) {
  (void)args;
  (void)n_args;
  const NullMethod* method = static_cast<NullMethod*>(handle);
  method->host.set_error(method->host.context, "the null delegate runs nothing");
  return kUnsupported;
}

void destroy(void* handle) { delete static_cast<NullMethod*>(handle); }

constexpr cria_delegate kNullDelegate = {
    CRIA_DELEGATE_ABI_VERSION, "CriaNullBackend", is_available, init, execute, destroy,
};

}  // namespace

const cria_delegate* null_delegate() { return &kNullDelegate; }

}  // namespace cria
