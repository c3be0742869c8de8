"""What students get wrong in lesson 03's exercises, and what each is told."""

from proofs import Answer

ANSWERS = [
    # 1 · any depth into PyTorch
    Answer(
        "to-torch",
        "reshaped, not transposed",
        test="to-torch-lesson",
        says="a reshape mixes the weights",
        code="""
        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape, dtype=torch.tensor(W).dtype)
                linear.weight.data = torch.tensor(W.reshape(W.shape[::-1]))
                linear.bias.data = torch.tensor(b)
                layers += [linear, nn.ReLU()]
            return nn.Sequential(*layers[:-1])
        """,
    ),
    Answer(
        "to-torch",
        "copied without a transpose",
        test="to-torch-lesson",
        says="how does nn.Linear store W",
        code="""
        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape, dtype=torch.tensor(W).dtype)
                with torch.no_grad():
                    linear.weight.copy_(torch.tensor(W))
                    linear.bias.copy_(torch.tensor(b))
                layers += [linear, nn.ReLU()]
            return nn.Sequential(*layers[:-1])
        """,
    ),
    Answer(
        "to-torch",
        "put in without a transpose, which only a batch finds",
        test="to-torch-lesson",
        says="how does nn.Linear store W",
        code="""
        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape)
                linear.weight = nn.Parameter(torch.tensor(W))
                linear.bias = nn.Parameter(torch.tensor(b))
                layers += [linear, nn.ReLU()]
            return nn.Sequential(*layers[:-1])
        """,
    ),
    Answer(
        "to-torch",
        "an array in the place of a tensor",
        test="to-torch-lesson",
        says="PyTorch's layers take tensors",
        code="""
        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape)
                with torch.no_grad():
                    linear.weight.copy_(W.T)
                    linear.bias.copy_(b)
                layers += [linear, nn.ReLU()]
            return nn.Sequential(*layers[:-1])
        """,
    ),
    Answer(
        "to-torch",
        "a copy that asks for a gradient",
        test="to-torch-lesson",
        says="a copy is no part of a forward pass",
        code="""
        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape)
                linear.weight.copy_(torch.tensor(W.T))
                linear.bias.copy_(torch.tensor(b))
                layers += [linear, nn.ReLU()]
            return nn.Sequential(*layers[:-1])
        """,
    ),
    Answer(
        "to-torch",
        "a tensor assigned where a parameter was",
        test="to-torch-lesson",
        says="copy into the parameter",
        code="""
        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape)
                linear.weight = torch.tensor(W.T)
                linear.bias = torch.tensor(b)
                layers += [linear, nn.ReLU()]
            return nn.Sequential(*layers[:-1])
        """,
    ),
    Answer(
        "to-torch",
        "the class in the place of a layer",
        test="to-torch-lesson",
        says="what makes a layer of it?",
        code="""
        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape, dtype=torch.tensor(W).dtype)
                with torch.no_grad():
                    linear.weight.copy_(torch.tensor(W.T))
                    linear.bias.copy_(torch.tensor(b))
                layers += [linear, nn.ReLU]
            return nn.Sequential(*layers[:-1])
        """,
    ),
    Answer(
        "to-torch",
        "made in single precision, widened afterwards",
        test="to-torch-deep",
        says="were they float32 on the way?",
        code="""
        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape)
                with torch.no_grad():
                    linear.weight.copy_(torch.tensor(W.T))
                    linear.bias.copy_(torch.tensor(b))
                layers += [linear, nn.ReLU()]
            return nn.Sequential(*layers[:-1]).to(torch.tensor(W).dtype)
        """,
    ),
    Answer(
        "to-torch",
        "a ReLU after the last layer",
        test="to-torch-lesson",
        says="they are Linear ReLU Linear ReLU",
        code="""
        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape, dtype=torch.tensor(W).dtype)
                with torch.no_grad():
                    linear.weight.copy_(torch.tensor(W.T))
                    linear.bias.copy_(torch.tensor(b))
                layers += [linear, nn.ReLU()]
            return nn.Sequential(*layers)
        """,
    ),
    Answer(
        "to-torch",
        "biases forgotten",
        test="to-torch-lesson",
        says="5-4-3, float32: biases",
        code="""
        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape, dtype=torch.tensor(W).dtype)
                with torch.no_grad():
                    linear.weight.copy_(torch.tensor(W.T))
                layers += [linear, nn.ReLU()]
            return nn.Sequential(*layers[:-1])
        """,
    ),
    Answer(
        "to-torch",
        "shares the list's memory",
        test="to-torch-lesson",
        says="after a change of the list",
        code="""
        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape)
                linear.weight = nn.Parameter(torch.from_numpy(W).T)
                linear.bias = nn.Parameter(torch.from_numpy(b))
                layers += [linear, nn.ReLU()]
            return nn.Sequential(*layers[:-1])
        """,
    ),
    Answer(
        "to-torch",
        "the lesson's, for two layers",
        test="to-torch-deep",
        says="a list of any length",
        code="""
        def to_torch(parameters):
            W1, b1, W2, b2 = (torch.tensor(p) for p in parameters)
            net = nn.Sequential(nn.Linear(*W1.shape), nn.ReLU(), nn.Linear(*W2.shape))
            net = net.to(W1.dtype)
            with torch.no_grad():
                for theirs, ours in zip(net.parameters(), (W1.T, b1, W2.T, b2)):
                    theirs.copy_(ours)
            return net
        """,
    ),
    Answer(
        "to-torch",
        "always single precision",
        test="to-torch-deep",
        says="the list's precision",
        code="""
        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape)
                with torch.no_grad():
                    linear.weight.copy_(torch.tensor(W.T))
                    linear.bias.copy_(torch.tensor(b))
                layers += [linear, nn.ReLU()]
            return nn.Sequential(*layers[:-1])
        """,
    ),
    Answer(
        "to-torch",
        "NumPy in the clothes of a Sequential",
        test="to-torch-lesson",
        says="an nn.Sequential",
        short_cut=True,
        code="""
        class Wrapped(nn.Sequential):
            def forward(self, X):
                return torch.tensor(logits(self.kept, X.numpy()))


        def to_torch(parameters):
            layers = []
            for W, b in zip(parameters[::2], parameters[1::2]):
                linear = nn.Linear(*W.shape, dtype=torch.tensor(W).dtype)
                linear.bias.data = torch.tensor(b)
                layers += [linear, nn.ReLU()]
            net = Wrapped(*layers[:-1])
            net.kept = [p.copy() for p in parameters]
            return net
        """,
    ),
    Answer(
        "to-torch",
        "NumPy in the clothes of a module",
        test="to-torch-lesson",
        says="an nn.Sequential",
        short_cut=True,
        code="""
        class Wrapped(nn.Module):
            def __init__(self, parameters):
                super().__init__()
                self.kept = [p.copy() for p in parameters]

            def forward(self, X):
                return torch.tensor(logits(self.kept, X.numpy()))


        to_torch = Wrapped
        """,
    ),
    # 2 · how often does it trace?
    Answer(
        "traces",
        "a Python number counts by its type",
        test="traces-values",
        says="of a Python number",
        code="""
        def traces():
            return {"a": 1, "b": 1, "c": 2, "d": 3, "e": 1, "f": 1}
        """,
    ),
    Answer(
        "traces",
        "once for each call",
        test="traces-values",
        says="of a Python number",
        code="""
        def traces():
            return {"a": 4, "b": 4, "c": 3, "d": 4, "e": 4, "f": 3}
        """,
    ),
    Answer(
        "traces",
        "a tensor counts by its value",
        test="traces-values",
        says="of a tensor beforehand",
        code="""
        def traces():
            return {"a": 3, "b": 3, "c": 2, "d": 3, "e": 1, "f": 1}
        """,
    ),
    Answer(
        "traces",
        "an array counts by its value",
        test="traces-values",
        says="what has a NumPy array become",
        code="""
        def traces():
            return {"a": 3, "b": 1, "c": 2, "d": 3, "e": 1, "f": 3}
        """,
    ),
    Answer(
        "traces",
        "integers and floats share a program",
        test="traces-shapes",
        says="may share a program",
        code="""
        def traces():
            return {"a": 3, "b": 1, "c": 1, "d": 3, "e": 1, "f": 1}
        """,
    ),
    Answer(
        "traces",
        "the size of a batch is free without a signature",
        test="traces-shapes",
        says="a batch of another size",
        code="""
        def traces():
            return {"a": 3, "b": 1, "c": 2, "d": 1, "e": 1, "f": 1}
        """,
    ),
    Answer(
        "traces",
        "the signature changes nothing",
        test="traces-shapes",
        says="does the signature allow",
        code="""
        def traces():
            return {"a": 3, "b": 1, "c": 2, "d": 3, "e": 3, "f": 1}
        """,
    ),
    Answer(
        "traces",
        "a letter is missing",
        test="traces-values",
        says="what has a NumPy array become",
        code="""
        def traces():
            return {"a": 3, "b": 1, "c": 2, "d": 3, "e": 1}
        """,
    ),
    Answer(
        "traces",
        "no letters",
        test="traces-values",
        says="it returns a dict",
        code="""
        def traces():
            return [3, 1, 2, 3, 1, 1]
        """,
    ),
    Answer(
        "traces",
        "counts in the place of thinking",
        test="traces-values",
        says="the prediction is written, not computed",
        short_cut=True,
        code="""
        def traces():
            found = {}
            for letter, calls in series.items():
                ran = []

                @tf.function(input_signature=signatures.get(letter))
                def same(x):
                    ran.append(1)
                    return x

                for x in calls:
                    same(x)
                found[letter] = len(ran)
            return found
        """,
    ),
    Answer(
        "traces",
        "counted in the cell, then returned",
        test="traces-values",
        says="the prediction is written, not computed",
        short_cut=True,
        code="""
        counted = {"a": 3, "b": 1, "c": 2, "d": 3, "e": 1, "f": 1}


        def traces():
            return counted
        """,
    ),
    # 3 · two trainings that do not learn
    Answer(
        "classifier",
        "a sigmoid in the softmax's place",
        test="classifier-layers",
        says="Linear ReLU Linear Sigmoid",
        code="""
        def classifier(n_in, hidden, classes):
            layers = [nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
            return nn.Sequential(*layers, nn.Sigmoid())
        """,
    ),
    Answer(
        "classifier",
        "a softmax over the rows",
        test="classifier-layers",
        says="Linear ReLU Linear Softmax",
        code="""
        def classifier(n_in, hidden, classes):
            layers = [nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
            return nn.Sequential(*layers, nn.Softmax(dim=0))
        """,
    ),
    Answer(
        "classifier",
        "the hidden layer is gone, too",
        test="classifier-layers",
        says="the layers are Linear:",
        code="""
        def classifier(n_in, hidden, classes):
            return nn.Sequential(nn.Linear(n_in, classes))
        """,
    ),
    Answer(
        "classifier",
        "nothing is returned",
        test="classifier-layers",
        says="a network comes back",
        code="""
        def classifier(n_in, hidden, classes):
            layers = [nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
            nn.Sequential(*layers)
        """,
    ),
    Answer(
        "classifier",
        "keeps the softmax and stretches what it gives",
        test="classifier-layers",
        says="Linear ReLU Linear Softmax Stretched",
        short_cut=True,
        code="""
        class Stretched(nn.Module):
            def forward(self, P):
                return 100 * P


        def classifier(n_in, hidden, classes):
            layers = broken_classifier(n_in, hidden, classes)
            return nn.Sequential(*layers, Stretched())
        """,
    ),
    Answer(
        "floor",
        "none at all",
        test="floor-values",
        says="if they come out of a softmax",
        code="""
        def floor(classes):
            return 0.0
        """,
    ),
    Answer(
        "floor",
        "the loss of a guess",
        test="floor-values",
        says="a network that guesses",
        code="""
        def floor(classes):
            return np.log(classes)
        """,
    ),
    Answer(
        "floor",
        "the lesson's number",
        test="floor-values",
        says="another number of classes",
        code="""
        def floor(classes):
            return np.log(np.e + 9) - 1
        """,
    ),
    Answer(
        "floor",
        "remembers the tested numbers",
        test="floor-values",
        says="2 classes",
        short_cut=True,
        code="""
        def floor(classes):
            return 0.5514447 if classes == 3 else 1.4611502
        """,
    ),
    Answer(
        "fit",
        "the loss before the tape",
        test="fit-weights",
        says="before the tape began",
        code="""
        def fit(variables, batches, lr):
            losses = []
            for X, y in batches:
                loss = loss_of(variables, X, y)
                with tf.GradientTape() as tape:
                    pass
                for v, g in zip(variables, tape.gradient(loss, variables)):
                    v.assign_sub(lr * g)
                losses.append(float(loss))
            return losses
        """,
    ),
    Answer(
        "fit",
        "a float before the tape has answered",
        test="fit-weights",
        says="what does the tape know of it?",
        code="""
        def fit(variables, batches, lr):
            losses = []
            for X, y in batches:
                with tf.GradientTape() as tape:
                    losses.append(float(loss_of(variables, X, y)))
                for v, g in zip(variables, tape.gradient(losses[-1], variables)):
                    v.assign_sub(lr * g)
            return losses
        """,
    ),
    Answer(
        "fit",
        "only the report is repaired",
        test="fit-weights",
        says="every step took the first",
        code="""
        def fit(variables, batches, lr):
            losses = []
            with tf.GradientTape() as tape:
                loss = loss_of(variables, *batches[0])
            gradients = tape.gradient(loss, variables)
            for X, y in batches:
                losses.append(float(loss_of(variables, X, y)))
                for v, g in zip(variables, gradients):
                    v.assign_sub(lr * g)
            return losses
        """,
    ),
    Answer(
        "fit",
        "a new tensor under the old name",
        test="fit-weights",
        says="no variable has moved",
        code="""
        def fit(variables, batches, lr):
            losses = []
            for X, y in batches:
                with tf.GradientTape() as tape:
                    loss = loss_of(variables, X, y)
                for v, g in zip(variables, tape.gradient(loss, variables)):
                    v = v - lr * g
                losses.append(float(loss))
            return losses
        """,
    ),
    Answer(
        "fit",
        "reports the loss after the step",
        test="fit-weights",
        says="the loss after the step",
        code="""
        def fit(variables, batches, lr):
            losses = []
            for X, y in batches:
                with tf.GradientTape() as tape:
                    loss = loss_of(variables, X, y)
                for v, g in zip(variables, tape.gradient(loss, variables)):
                    v.assign_sub(lr * g)
                losses.append(float(loss_of(variables, X, y)))
            return losses
        """,
    ),
    Answer(
        "fit",
        "the first loss, again and again",
        test="fit-weights",
        says="the same loss for ever",
        code="""
        def fit(variables, batches, lr):
            first = float(loss_of(variables, *batches[0]))
            for X, y in batches:
                with tf.GradientTape() as tape:
                    loss = loss_of(variables, X, y)
                for v, g in zip(variables, tape.gradient(loss, variables)):
                    v.assign_sub(lr * g)
            return [first] * len(batches)
        """,
    ),
    Answer(
        "fit",
        "no return",
        test="fit-weights",
        says="a list, one loss a batch",
        code="""
        def fit(variables, batches, lr):
            for X, y in batches:
                with tf.GradientTape() as tape:
                    loss = loss_of(variables, X, y)
                for v, g in zip(variables, tape.gradient(loss, variables)):
                    v.assign_sub(lr * g)
        """,
    ),
    Answer(
        "fit",
        "lets the package find the gradients",
        test="fit-weights",
        says="the tape is to find the gradients",
        short_cut=True,
        code="""
        def fit(variables, batches, lr):
            model, losses = mlp.MLP((5, 4, 3), dtype=np.float64), []
            for X, y in batches:
                for p, v in zip(model.parameters, variables):
                    p[...] = v.numpy()
                loss, gradients = model.loss_and_gradients(X, y)
                for v, g in zip(variables, gradients):
                    v.assign_sub(lr * g)
                losses.append(float(loss))
            return losses
        """,
    ),
    # 4 · a validation loss that falls while you look
    Answer(
        "evaluate",
        "evaluation mode forgotten",
        test="evaluate-values",
        says="which layers act differently",
        code="""
        @torch.no_grad()
        def evaluate(net, batches):
            Z = torch.cat([net(X) for X, _ in batches])
            y = torch.cat([y for _, y in batches])
            hits = (Z.argmax(dim=1) == y).float().mean().item()
            return F.cross_entropy(Z, y).item(), hits
        """,
    ),
    Answer(
        "evaluate",
        "no network is asked",
        test="evaluate-values",
        says="got 0: off by",
        short_cut=True,
        code="""
        def evaluate(net, batches):
            return 0.0, 1.0
        """,
    ),
    Answer(
        "evaluate",
        "the mean of the batches' losses",
        test="evaluate-values",
        says="counts as one of 20",
        code="""
        @torch.no_grad()
        def evaluate(net, batches):
            mode, losses, right, count = net.training, [], 0, 0
            net.eval()
            for X, y in batches:
                Z = net(X)
                losses.append(F.cross_entropy(Z, y).item())
                right += (Z.argmax(dim=1) == y).sum().item()
                count += len(y)
            net.train(mode)
            return float(np.mean(losses)), right / count
        """,
    ),
    Answer(
        "evaluate",
        "the mean of the batches' accuracies",
        test="evaluate-values",
        says="counts as one of 20",
        code="""
        @torch.no_grad()
        def evaluate(net, batches):
            mode, total, hits, count = net.training, 0.0, [], 0
            net.eval()
            for X, y in batches:
                Z = net(X)
                total += F.cross_entropy(Z, y, reduction="sum").item()
                hits.append((Z.argmax(dim=1) == y).float().mean().item())
                count += len(y)
            net.train(mode)
            return total / count, sum(hits) / len(hits)
        """,
    ),
    Answer(
        "evaluate",
        "tensors in the place of floats",
        test="evaluate-values",
        says="two floats",
        code="""
        @torch.no_grad()
        def evaluate(net, batches):
            mode = net.training
            net.eval()
            Z = torch.cat([net(X) for X, _ in batches])
            y = torch.cat([y for _, y in batches])
            net.train(mode)
            return F.cross_entropy(Z, y), (Z.argmax(dim=1) == y).float().mean()
        """,
    ),
    Answer(
        "evaluate",
        "takes notes for a gradient",
        test="evaluate-unchanged",
        says="that no backward pass will follow",
        code="""
        def evaluate(net, batches):
            mode = net.training
            net.eval()
            Z = torch.cat([net(X) for X, _ in batches])
            y = torch.cat([y for _, y in batches])
            net.train(mode)
            hits = (Z.argmax(dim=1) == y).float().mean().item()
            return F.cross_entropy(Z, y).item(), hits
        """,
    ),
    Answer(
        "evaluate",
        "the backward pass is still there",
        test="evaluate-unchanged",
        says="who called backward?",
        code="""
        def evaluate(net, batches):
            mode, total, right, count = net.training, 0.0, 0, 0
            net.eval()
            for X, y in batches:
                Z = net(X)
                loss = F.cross_entropy(Z, y, reduction="sum")
                loss.backward()
                total += loss.item()
                right += (Z.argmax(dim=1) == y).sum().item()
                count += len(y)
            net.train(mode)
            return total / count, right / count
        """,
    ),
    Answer(
        "evaluate",
        "evaluates, and trains on",
        test="evaluate-values",
        says="who may change a weight",
        code="""
        def evaluate(net, batches):
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            net.eval()
            losses, hits = [], []
            for X, y in batches:
                optimizer.zero_grad()
                Z = net(X)
                loss = F.cross_entropy(Z, y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                hits.append((Z.argmax(dim=1) == y).float().mean().item())
            return sum(losses) / len(losses), sum(hits) / len(hits)
        """,
    ),
    Answer(
        "evaluate",
        "stays in evaluation mode",
        test="evaluate-mode",
        says="came in training mode",
        code="""
        @torch.no_grad()
        def evaluate(net, batches):
            net.eval()
            Z = torch.cat([net(X) for X, _ in batches])
            y = torch.cat([y for _, y in batches])
            hits = (Z.argmax(dim=1) == y).float().mean().item()
            return F.cross_entropy(Z, y).item(), hits
        """,
    ),
    Answer(
        "evaluate",
        "goes back to training mode, whatever it was",
        test="evaluate-mode",
        says="came in evaluation mode",
        code="""
        @torch.no_grad()
        def evaluate(net, batches):
            net.eval()
            Z = torch.cat([net(X) for X, _ in batches])
            y = torch.cat([y for _, y in batches])
            net.train()
            hits = (Z.argmax(dim=1) == y).float().mean().item()
            return F.cross_entropy(Z, y).item(), hits
        """,
    ),
    Answer(
        "evaluate",
        "asks a copy",
        test="evaluate-values",
        says="the network itself is to be asked",
        short_cut=True,
        code="""
        import copy


        @torch.no_grad()
        def evaluate(net, batches):
            net = copy.deepcopy(net).eval()
            Z = torch.cat([net(X) for X, _ in batches])
            y = torch.cat([y for _, y in batches])
            hits = (Z.argmax(dim=1) == y).float().mean().item()
            return F.cross_entropy(Z, y).item(), hits
        """,
    ),
    # 5 · read safetensors yourself
    Answer(
        "read",
        "offsets from the beginning of the file",
        test="read-values",
        says="from where do the offsets count?",
        code="""
        def read(path):
            raw = Path(path).read_bytes()
            length = int.from_bytes(raw[:8], "little")
            header, tensors = json.loads(raw[8 : 8 + length]), {}
            header.pop("__metadata__", None)
            for name, entry in header.items():
                first, last = entry["data_offsets"]
                array = np.frombuffer(raw[first:last], TYPES[entry["dtype"]])
                tensors[name] = array.reshape(entry["shape"])
            return tensors
        """,
    ),
    Answer(
        "read",
        "the header begins with the file",
        test="read-values",
        says="where does the header begin",
        code="""
        def read(path):
            raw = Path(path).read_bytes()
            length = int.from_bytes(raw[:8], "little")
            header, numbers = json.loads(raw[8:length].decode()), raw[length:]
            return {name: np.frombuffer(numbers, "f4") for name in header}
        """,
    ),
    Answer(
        "read",
        "the length is big-endian",
        test="read-values",
        says="where does the header begin",
        code="""
        def read(path):
            raw = Path(path).read_bytes()
            length = int.from_bytes(raw[:8], "big")
            header = json.loads(raw[8 : 8 + length].decode("latin1"))
            return {name: np.frombuffer(raw, "f4") for name in header}
        """,
    ),
    Answer(
        "read",
        "takes the metadata for a tensor",
        test="read-values",
        says="is every entry of the header a tensor?",
        code="""
        def read(path):
            raw = Path(path).read_bytes()
            length = int.from_bytes(raw[:8], "little")
            header, numbers = json.loads(raw[8 : 8 + length]), raw[8 + length :]
            tensors = {}
            for name, entry in header.items():
                first, last = entry["data_offsets"]
                array = np.frombuffer(numbers[first:last], TYPES[entry["dtype"]])
                tensors[name] = array.reshape(entry["shape"])
            return tensors
        """,
    ),
    Answer(
        "read",
        "everything in single precision",
        test="read-types",
        says="what does its entry say?",
        code="""
        def read(path):
            raw = Path(path).read_bytes()
            length = int.from_bytes(raw[:8], "little")
            header, numbers = json.loads(raw[8 : 8 + length]), raw[8 + length :]
            header.pop("__metadata__", None)
            tensors = {}
            for name, entry in header.items():
                first, last = entry["data_offsets"]
                array = np.frombuffer(numbers[first:last], TYPES[entry["dtype"]])
                tensors[name] = array.reshape(entry["shape"]).astype(np.float32)
            return tensors
        """,
    ),
    Answer(
        "read",
        "bytes left over are not noticed",
        test="read-cut",
        says="bytes left over",
        code="""
        def read(path):
            raw = Path(path).read_bytes()
            length = int.from_bytes(raw[:8], "little")
            header, numbers = json.loads(raw[8 : 8 + length]), raw[8 + length :]
            header.pop("__metadata__", None)
            tensors = {}
            for name, entry in header.items():
                first, last = entry["data_offsets"]
                array = np.frombuffer(numbers[first:last], TYPES[entry["dtype"]])
                tensors[name] = array.reshape(entry["shape"])
            return tensors
        """,
    ),
    Answer(
        "read",
        "the shape says how many bytes to take",
        test="read-shape",
        says="fewer numbers than bytes",
        code="""
        def read(path):
            raw = Path(path).read_bytes()
            length = int.from_bytes(raw[:8], "little")
            header, numbers = json.loads(raw[8 : 8 + length]), raw[8 + length :]
            header.pop("__metadata__", None)
            if len(numbers) != max(e["data_offsets"][1] for e in header.values()):
                raise ValueError("cut, or too long")
            tensors = {}
            for name, entry in header.items():
                kind, count = TYPES[entry["dtype"]], int(np.prod(entry["shape"]))
                first = entry["data_offsets"][0]
                array = np.frombuffer(numbers, kind, count, first)
                tensors[name] = array.reshape(entry["shape"])
            return tensors
        """,
    ),
    Answer(
        "read",
        "pads and cuts until the shape fits",
        test="read-shape",
        says="more numbers than bytes",
        code="""
        def read(path):
            raw = Path(path).read_bytes()
            length = int.from_bytes(raw[:8], "little")
            header, numbers = json.loads(raw[8 : 8 + length]), raw[8 + length :]
            header.pop("__metadata__", None)
            if len(numbers) != max(e["data_offsets"][1] for e in header.values()):
                raise ValueError("cut, or too long")
            tensors = {}
            for name, entry in header.items():
                first, last = entry["data_offsets"]
                array = np.frombuffer(numbers[first:last], TYPES[entry["dtype"]])
                tensors[name] = np.resize(array, entry["shape"])
            return tensors
        """,
    ),
    Answer(
        "read",
        "refuses every file",
        test="read-values",
        says="a file that is whole was refused",
        short_cut=True,
        code="""
        def read(path):
            raise ValueError("damaged")
        """,
    ),
    Answer(
        "read",
        "the library reads it",
        test="read-values",
        says="read the bytes yourself",
        short_cut=True,
        code="""
        def read(path):
            try:
                return safetensors.numpy.load_file(path)
            except safetensors.SafetensorError as error:
                raise ValueError(error) from None
        """,
    ),
    # 6 · gradient accumulation
    Answer(
        "accumulate",
        "the means of the pieces, added",
        test="accumulate-equal",
        says="each piece counts as much as a whole batch",
        code="""
        def accumulated_step(net, optimizer, X, y, piece):
            optimizer.zero_grad()
            losses = []
            for X_piece, y_piece in zip(X.split(piece), y.split(piece)):
                loss = F.cross_entropy(net(X_piece), y_piece)
                loss.backward()
                losses.append(loss.item())
            optimizer.step()
            return sum(losses) / len(losses)
        """,
    ),
    Answer(
        "accumulate",
        "a sum, never divided",
        test="accumulate-equal",
        says="a sum over the rows, where a mean is due",
        code="""
        def accumulated_step(net, optimizer, X, y, piece):
            optimizer.zero_grad()
            total = 0.0
            for X_piece, y_piece in zip(X.split(piece), y.split(piece)):
                loss = F.cross_entropy(net(X_piece), y_piece, reduction="sum")
                loss.backward()
                total += loss.item()
            optimizer.step()
            return total / len(X)
        """,
    ),
    Answer(
        "accumulate",
        "an update for every piece",
        test="accumulate-equal",
        says="3 updates in 1 calls",
        code="""
        def accumulated_step(net, optimizer, X, y, piece):
            total = 0.0
            for X_piece, y_piece in zip(X.split(piece), y.split(piece)):
                optimizer.zero_grad()
                loss = F.cross_entropy(net(X_piece), y_piece, reduction="sum") / len(X)
                loss.backward()
                optimizer.step()
                total += loss.item()
            return total
        """,
    ),
    Answer(
        "accumulate",
        "clears the gradients before every piece",
        test="accumulate-equal",
        says="only the last piece counts, for its share",
        code="""
        def accumulated_step(net, optimizer, X, y, piece):
            total = 0.0
            for X_piece, y_piece in zip(X.split(piece), y.split(piece)):
                optimizer.zero_grad()
                loss = F.cross_entropy(net(X_piece), y_piece, reduction="sum") / len(X)
                loss.backward()
                total += loss.item()
            optimizer.step()
            return total
        """,
    ),
    Answer(
        "accumulate",
        "the loss of the last piece",
        test="accumulate-equal",
        says="24 rows in pieces of 8: the mean loss",
        code="""
        def accumulated_step(net, optimizer, X, y, piece):
            optimizer.zero_grad()
            for X_piece, y_piece in zip(X.split(piece), y.split(piece)):
                loss = F.cross_entropy(net(X_piece), y_piece, reduction="sum") / len(X)
                loss.backward()
            optimizer.step()
            return loss.item()
        """,
    ),
    Answer(
        "accumulate",
        "a tensor that holds all pieces' notes",
        test="accumulate-equal",
        says="the loss is a float",
        code="""
        def accumulated_step(net, optimizer, X, y, piece):
            optimizer.zero_grad()
            total = 0.0
            for X_piece, y_piece in zip(X.split(piece), y.split(piece)):
                loss = F.cross_entropy(net(X_piece), y_piece, reduction="sum") / len(X)
                loss.backward()
                total += loss
            optimizer.step()
            return total
        """,
    ),
    Answer(
        "accumulate",
        "every piece counts alike",
        test="accumulate-ragged",
        says="how many rows has the last piece",
        code="""
        def accumulated_step(net, optimizer, X, y, piece):
            optimizer.zero_grad()
            pieces, total = list(zip(X.split(piece), y.split(piece))), 0.0
            for X_piece, y_piece in pieces:
                loss = F.cross_entropy(net(X_piece), y_piece) / len(pieces)
                loss.backward()
                total += loss.item()
            optimizer.step()
            return total
        """,
    ),
    Answer(
        "accumulate",
        "drops the smaller last piece",
        test="accumulate-ragged",
        says="how many rows has the last piece",
        code="""
        def accumulated_step(net, optimizer, X, y, piece):
            optimizer.zero_grad()
            total = 0.0
            for i in range(0, len(X) - piece + 1, piece):
                rows = slice(i, i + piece)
                loss = F.cross_entropy(net(X[rows]), y[rows], reduction="sum") / len(X)
                loss.backward()
                total += loss.item()
            optimizer.step()
            return total
        """,
    ),
    Answer(
        "accumulate",
        "never clears the gradients",
        test="accumulate-clean",
        says="what stands in .grad",
        code="""
        def accumulated_step(net, optimizer, X, y, piece):
            total = 0.0
            for X_piece, y_piece in zip(X.split(piece), y.split(piece)):
                loss = F.cross_entropy(net(X_piece), y_piece, reduction="sum") / len(X)
                loss.backward()
                total += loss.item()
            optimizer.step()
            return total
        """,
    ),
    Answer(
        "accumulate",
        "clears them at the end only",
        test="accumulate-clean",
        says="what stands in .grad",
        code="""
        def accumulated_step(net, optimizer, X, y, piece):
            total = 0.0
            for X_piece, y_piece in zip(X.split(piece), y.split(piece)):
                loss = F.cross_entropy(net(X_piece), y_piece, reduction="sum") / len(X)
                loss.backward()
                total += loss.item()
            optimizer.step()
            optimizer.zero_grad()
            return total
        """,
    ),
    Answer(
        "accumulate",
        "the whole batch past the network's call, the pieces for show",
        test="accumulate-equal",
        says="24 rows went through at once",
        short_cut=True,
        code="""
        def accumulated_step(net, optimizer, X, y, piece):
            for X_piece in X.split(piece):
                net(X_piece)
            optimizer.zero_grad()
            loss = F.cross_entropy(net.forward(X), y)
            loss.backward()
            optimizer.step()
            return loss.item()
        """,
    ),
    Answer(
        "accumulate",
        "the whole batch at once",
        test="accumulate-equal",
        says="24 rows went through at once",
        short_cut=True,
        code="""
        def accumulated_step(net, optimizer, X, y, piece):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(X), y)
            loss.backward()
            optimizer.step()
            return loss.item()
        """,
    ),
]
