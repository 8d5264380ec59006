# The CUDA backend, and its tests on the CPU.
#
#   make cuda          builds alol_cuda.so with nvcc; CUDA_HOME says where the
#                      toolkit is, CUDA_ARCHS for what (90, or 80 86 ...)
#   make check-cuda    the kernels, compiled by g++ and run on the CPU
#   make check-gpu     the same suites on the GPU of this machine

CUDA_SOURCES = $(wildcard cuda/*.cu)

# ---------------------------------------------------------------- the module
CUDA_HOME ?= $(or $(patsubst %/bin/nvcc,%,$(shell command -v nvcc)),/usr/local/cuda)
NVCC = $(CUDA_HOME)/bin/nvcc
# GPUs that code is made for; later ones compile the first one's PTX.
CUDA_ARCHS ?= 80 86 89 90 100 120
CUDA_BUILD = build/cuda$(subst $() ,-, $(CUDA_ARCHS))
CUDA_CODE = $(foreach arch,$(CUDA_ARCHS),-gencode arch=compute_$(arch),code=sm_$(arch)) \
	-gencode arch=compute_$(firstword $(CUDA_ARCHS)),code=compute_$(firstword $(CUDA_ARCHS))
CUDA_DEFINES = -I. -Isrc/engine -DALOL_VERSION='"$(EXTVERSION)"' \
	-DALOL_DEVICE_LAYOUT='"$(DEVICE_LAYOUT)"'
CUDA_FLAGS = -std=c++17 -O3 $(CUDA_CODE) -Werror all-warnings -Xcompiler \
	-Wall,-Wextra,-Wshadow,-Werror,-fPIC,-fvisibility=hidden -Xptxas -v
CUDA_BASE = $(patsubst %,src/engine/base/%.c,dtype dynamic8 failure quant \
	quant_write)
CUDA_OBJECTS = $(patsubst cuda/%.cu,$(CUDA_BUILD)/%.o,$(CUDA_SOURCES)) \
	$(patsubst src/engine/base/%.c,$(CUDA_BUILD)/base/%.o,$(CUDA_BASE))

cuda: $(if $(wildcard $(NVCC)),$(CUDA_BUILD)/alol_cuda.so,no-cuda)
	cp $< alol_cuda.so
# Where it was built, or nothing where there is no compiler for it.
list-cuda-build:
	@echo $(if $(wildcard $(NVCC)),$(CUDA_BUILD))
no-cuda:
	@echo "no nvcc on the PATH or in $(CUDA_HOME): install NVIDIA's CUDA" \
		"toolkit 13 with nvcc, cudart and cuBLAS, or name its directory:" \
		"make cuda CUDA_HOME=DIRECTORY" >&2; exit 1

$(CUDA_BUILD)/alol_cuda.so: $(CUDA_OBJECTS)
	$(NVCC) -shared -o $@ $^ $(CUDA_CODE) -L$(CUDA_HOME)/lib64 -lcublas \
		-lcublasLt -Xlinker -z,defs,-rpath,$(CUDA_HOME)/lib64

# What ptxas says of registers and spills is kept beside the object.
$(CUDA_BUILD)/%.o: cuda/%.cu
	@mkdir -p $(@D)
	$(NVCC) $(CUDA_FLAGS) $(CUDA_DEFINES) -MMD -MP -c -o $@ $< \
		> $(@:.o=.ptxas) 2>&1 || { cat $(@:.o=.ptxas); rm -f $@; exit 1; }

$(CUDA_BUILD)/base/%.o: src/engine/base/%.c
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS:-fopenmp=-fopenmp-simd) -fPIC -fvisibility=hidden \
		-c -o $@ $<

-include $(CUDA_OBJECTS:.o=.d)

install: install-cuda
install-cuda:
	[ ! -f alol_cuda.so ] || \
		$(INSTALL_SHLIB) alol_cuda.so '$(DESTDIR)$(pkglibdir)/alol_cuda.so'
uninstall: uninstall-cuda
uninstall-cuda:
	rm -f '$(DESTDIR)$(pkglibdir)/alol_cuda.so'

# ------------------------------------------------------- tests without a GPU
SHIM_BUILD = $(ENGINE_BUILD)/cuda
SHIM_FLAGS = -g -Wall -Wextra -Werror -Wshadow -Itest/cuda/shim -I. \
	-Isrc/engine -DALOL_VERSION='"$(EXTVERSION)"' \
	-DALOL_DEVICE_LAYOUT='"$(DEVICE_LAYOUT)"' -fPIC -MMD -MP
SHIM_CFLAGS = -std=gnu11 -D_GNU_SOURCE -Wstrict-prototypes \
	-Wmissing-prototypes $(SHIM_FLAGS)
# Kernels contract a * b + c as nvcc does; it alone knows their pragmas.  Small
# scratch makes small tests work in pieces.
SHIM_CXXFLAGS = -std=gnu++17 -Wno-unknown-pragmas -ffp-contract=fast \
	-DCUDA_SCRATCH_MOST=65536 $(SHIM_FLAGS)
ifeq ($(SANITIZE),1)
SHIM_FLAGS += -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
else
SHIM_FLAGS += -O2
endif
SHIM_OBJECTS = $(patsubst cuda/%.cu,$(SHIM_BUILD)/%.o,$(CUDA_SOURCES)) \
	$(patsubst test/cuda/shim/%.c,$(SHIM_BUILD)/shim/%.o,$(wildcard test/cuda/shim/*.c))

$(SHIM_BUILD)/%.o: cuda/%.cu
	@mkdir -p $(@D)
	$(CXX) -x c++ $(SHIM_CXXFLAGS) -c -o $@ $<

$(SHIM_BUILD)/shim/%.o: test/cuda/shim/%.c
	@mkdir -p $(@D)
	$(CC) $(SHIM_CFLAGS) -c -o $@ $<

CUDA_TESTS = $(patsubst test/cuda/%.c,$(SHIM_BUILD)/test/%,$(wildcard test/cuda/*_test.c)) \
	$(patsubst test/cuda/%.cu,$(SHIM_BUILD)/test/%,$(wildcard test/cuda/*_test.cu))

$(SHIM_BUILD)/test/%: test/cuda/%.cu $(SHIM_OBJECTS) $(ENGINE_LIBRARY)
	@mkdir -p $(@D)
	$(CXX) -x c++ $(SHIM_CXXFLAGS) -fopenmp -Itest/engine -o $@ $< \
		-x none $(SHIM_OBJECTS) $(ENGINE_LIBRARY) $(ENGINE_LIBS) -lcmocka

$(SHIM_BUILD)/test/%: test/cuda/%.c $(SHIM_OBJECTS) $(ENGINE_LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) -Itest/cuda -Itest/cuda/shim \
		-Itest/engine -o $@ $< $(SHIM_OBJECTS) $(ENGINE_LIBRARY) \
		$(ENGINE_LIBS) -lstdc++ -lcmocka

# The module that an engine loads, with a GPU in software.
$(SHIM_BUILD)/module/alol_cuda.so: $(SHIM_OBJECTS) \
		$(patsubst src/engine/base/%.c,$(ENGINE_BUILD)/module/src/engine/base/%.o,$(wildcard src/engine/base/*.c))
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) -shared -Wl,-Bsymbolic -o $@ $^ -lstdc++ -lm
$(SHIM_BUILD)/test/lost_test: | $(SHIM_BUILD)/module/alol_cuda.so \
	$(ENGINE_BUILD)/alol-engine

# What stands in for NCCL, a library as that is.
$(SHIM_BUILD)/test/libnccl.so.2: test/cuda/nccl/nccl.c
	@mkdir -p $(@D)
	$(CC) $(SHIM_CFLAGS) -Wno-missing-prototypes -shared \
		-Wl,-soname,libnccl.so.2 -o $@ $<
$(SHIM_BUILD)/test/collective_test: $(SHIM_BUILD)/test/libnccl.so.2
$(SHIM_BUILD)/test/collective_test: ENGINE_LIBS += -rdynamic

# Suites of the engine, with the same kernels as their device.
CUDA_TESTS += $(patsubst %,$(SHIM_BUILD)/test/model/%,training_test moments_test \
	classifier_test lora/quantize_test lora/adapter_test)
$(SHIM_BUILD)/test/%: test/engine/%.c $(SHIM_OBJECTS) $(ENGINE_LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) -DON_MODULE -Itest/engine -o $@ $< \
		$(SHIM_OBJECTS) $(ENGINE_LIBRARY) $(ENGINE_LIBS) -lstdc++ -lcmocka

# ------------------------------------------------------- the same with a GPU
GPU_BUILD = $(ENGINE_BUILD)/gpu
GPU_TESTS = $(patsubst %,$(GPU_BUILD)/test/%,attention_test elements_test \
	generate_test products_test rounded_test rows_test train_test warp_test \
	model/training_test model/moments_test model/classifier_test \
	model/lora/quantize_test model/lora/adapter_test)
GPU_LIBS = -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcublas \
	-lcublasLt -lcudart_static -lrt -lpthread -lstdc++ -lcmocka
# The engine brings those of base.
GPU_OBJECTS = $(filter $(CUDA_BUILD)/%.o,$(patsubst cuda/%.cu,$(CUDA_BUILD)/%.o,$(CUDA_SOURCES)))

$(GPU_BUILD)/test/%.o: test/cuda/%.cu
	@mkdir -p $(@D)
	$(NVCC) -std=c++17 -O3 $(CUDA_CODE) $(CUDA_DEFINES) -Itest/cuda/gpu -MMD \
		-MP -c -o $@ $<
$(GPU_BUILD)/test/%: $(GPU_BUILD)/test/%.o $(GPU_OBJECTS) $(ENGINE_LIBRARY)
	$(CC) $(ENGINE_CFLAGS) -o $@ $^ $(ENGINE_LIBS) $(GPU_LIBS)
$(GPU_BUILD)/test/%: test/cuda/%.c $(GPU_OBJECTS) $(ENGINE_LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) -Itest/cuda -Itest/cuda/gpu -Itest/engine -o $@ $< \
		$(GPU_OBJECTS) $(ENGINE_LIBRARY) $(ENGINE_LIBS) $(GPU_LIBS)
$(GPU_BUILD)/test/%: test/engine/%.c $(GPU_OBJECTS) $(ENGINE_LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) -DON_MODULE -Itest/engine -o $@ $< $(GPU_OBJECTS) \
		$(ENGINE_LIBRARY) $(ENGINE_LIBS) $(GPU_LIBS)

-include $(SHIM_OBJECTS:.o=.d) $(CUDA_TESTS:=.d) $(GPU_TESTS:=.d)

cuda-tests: $(CUDA_TESTS)
list-cuda-tests:
	@echo $(sort $(CUDA_TESTS))
check-cuda: $(CUDA_TESTS)
	@set -e; for test in $(sort $(CUDA_TESTS)); do \
		echo "# $$test"; ALOL_SHARED=none OMP_NUM_THREADS=2 $$test; done

gpu-tests: $(GPU_TESTS)
list-gpu-tests:
	@echo $(sort $(GPU_TESTS))
check-gpu: $(GPU_TESTS)
	@set -e; for test in $(sort $(GPU_TESTS)); do \
		echo "# $$test"; OMP_NUM_THREADS=2 $$test; done

.PHONY: cuda no-cuda list-cuda-build install-cuda uninstall-cuda cuda-tests list-cuda-tests check-cuda \
	gpu-tests list-gpu-tests check-gpu
