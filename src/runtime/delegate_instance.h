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

  // `on_record`: called after every op; empty: the delegate is not asked for records.
  // kUnsupported: the device is not there. Otherwise the delegate's own error.
  static Result<std::unique_ptr<DelegateInstance>> create(const cria_delegate* delegate,
                                                          const Program& program, ThreadPool& pool,
                                                          std::span<const std::byte> blob,
                                                          const Options& options,
                                                          OnRecord on_record = {});
  ~DelegateInstance();
  DelegateInstance(const DelegateInstance&) = delete;
  DelegateInstance& operator=(const DelegateInstance&) = delete;

  const char* name() const { return delegate_->name; }
  Status execute(std::span<cria_tensor> args);

 private:
  DelegateInstance(const cria_delegate* delegate, const Program& program, ThreadPool& pool,
                   OnRecord on_record);
  Status status_of(int code);

  const cria_delegate* delegate_;
  const Program& program_;
  ThreadPool& pool_;
  OnRecord on_record_;
  cria_host host_{};
  void* handle_ = nullptr;
  bool initialized_ = false;
  std::string message_;  // the last host->set_error
};

}  // namespace cria
