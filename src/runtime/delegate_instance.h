// One prepared method of one delegate, and the services that the runtime lends to it.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "cria/delegate.h"
#include "runtime/program.h"

namespace cria {

// Owns a delegate's handle. Program, pool and delegate table must outlive it.
// Thread-safety: one call at a time.
class DelegateInstance {
 public:
  using Options = std::vector<std::pair<std::string, std::string>>;  // key, value; later wins

  using OnRecord = std::function<void(const cria_op_record&)>;
  using OnInput = std::function<void(const cria_input_record&)>;
  // Empty ones: the delegate is not asked.
  struct Listeners {
    OnRecord on_record;  // called after every op
    OnInput on_input;    // called with what linears read
  };

  // kUnsupported: the device is not there. Otherwise the delegate's own error.
  static Result<std::unique_ptr<DelegateInstance>> create(const cria_delegate* delegate,
                                                          const Program& program, ThreadPool& pool,
                                                          std::span<const std::byte> blob,
                                                          const Options& options,
                                                          Listeners listeners = {});
  ~DelegateInstance();
  DelegateInstance(const DelegateInstance&) = delete;
  DelegateInstance& operator=(const DelegateInstance&) = delete;

  const char* name() const { return delegate_->name; }
  Status execute(std::span<cria_tensor> args);

 private:
  DelegateInstance(const cria_delegate* delegate, const Program& program, ThreadPool& pool,
                   Listeners listeners);
  Status status_of(int code);
  static void record_op(void* context, const cria_op_record* record);
  static void observe_input(void* context, const cria_input_record* record);

  const cria_delegate* delegate_;
  const Program& program_;
  ThreadPool& pool_;
  Listeners listeners_;
  cria_host host_{};
  void* handle_ = nullptr;
  bool initialized_ = false;
  bool bad_input_record_ = false;  // the delegate showed rows that are none
  std::string message_;            // the last host->set_error
};

}  // namespace cria
