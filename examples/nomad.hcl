# A Nomad job whose task has the token of the role ci in its environment, and restarts when it changes. A
# rotation is seen within the client's template.vault_default_lease_duration, 5 minutes by default.
job "app" {
  datacenters = ["dc1"]

  group "app" {
    task "app" {
      driver = "docker"

      config {
        image   = "registry.example.com/app"
        command = "python3"
        args    = ["app.py"]
      }

      vault {
        role = "app"
      }

      template {
        env         = true
        destination = "secrets/modal.env"
        change_mode = "restart"

        # From /env: creds/ci has fields of several lines, and Nomad kills a task whose file it can't parse.
        data = <<EOT
{{ with secret "modal/creds/ci/env" }}{{ range $k, $v := .Data }}{{ $k }}={{ $v }}
{{ end }}{{ end }}
EOT
      }
    }
  }
}
